"""The configuration: ``sections`` says what can be set, ``load`` reads it."""

from audio_pool.config.load import load_config
from audio_pool.config.sections import (
    CacheConfig,
    ClientConfig,
    Config,
    DefaultsConfig,
    EngineConfig,
    EngineDefaults,
    JobsConfig,
    LimitsConfig,
    LogsConfig,
    LoudnessProfile,
    NamespaceConfig,
    PolicyConfig,
    QueueConfig,
    ServerConfig,
    SoundConfig,
    WorkerConfig,
    process_names,
)

__all__ = [
    "CacheConfig",
    "ClientConfig",
    "Config",
    "DefaultsConfig",
    "EngineConfig",
    "EngineDefaults",
    "JobsConfig",
    "LimitsConfig",
    "LogsConfig",
    "LoudnessProfile",
    "NamespaceConfig",
    "PolicyConfig",
    "QueueConfig",
    "ServerConfig",
    "SoundConfig",
    "WorkerConfig",
    "load_config",
    "process_names",
]
