"""Pure functions on float32 [C, T]: loop, quality, filter, loudness, codec, spectrogram."""
