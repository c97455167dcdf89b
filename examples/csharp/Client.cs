// A client of `audio-pool serve` in C#, made from docs/protocol.md. A snippet: not built or run by our tests.
// Packages: NetMQ 4.0.1, MessagePack 3.1.
//
//   var sound = await new AudioPoolClient("tcp://127.0.0.1:5555").GenerateAsync("rain on a tin roof", 2.0, loop: true);
//   Console.WriteLine(sound["path"]);

using System;
using System.Collections.Concurrent;
using System.Collections.Generic;
using System.Threading;
using System.Threading.Tasks;
using MessagePack;
using NetMQ;
using NetMQ.Sockets;

public sealed class AudioPoolException : Exception
{
    public string Code { get; }       // what each means and what to do: docs/protocol.md, section 5
    public bool Retryable { get; }

    public AudioPoolException(string code, string message, bool retryable) : base(message)
    {
        Code = code;
        Retryable = retryable;
    }
}

/// One DEALER socket, many requests in flight. The socket belongs to the poller's thread alone:
/// other threads hand their frames over through a NetMQQueue.
public sealed class AudioPoolClient : IDisposable
{
    private readonly DealerSocket _socket = new();
    private readonly NetMQQueue<byte[]> _outgoing = new();
    private readonly NetMQPoller _poller;
    private readonly ConcurrentDictionary<string, TaskCompletionSource<Dictionary<object, object>>> _inFlight = new();

    public AudioPoolClient(string endpoint)
    {
        _socket.Options.Linger = TimeSpan.Zero;
        _socket.Options.ReconnectInterval = TimeSpan.FromMilliseconds(50);
        _socket.Options.ReconnectIntervalMax = TimeSpan.FromSeconds(2);
        _socket.Connect(endpoint);
        _socket.ReceiveReady += (_, _) => Heard(_socket.ReceiveMultipartBytes());
        _outgoing.ReceiveReady += (_, _) => { while (_outgoing.TryDequeue(out var frame, TimeSpan.Zero)) _socket.SendFrame(frame); };
        _poller = new NetMQPoller { _socket, _outgoing };
        _poller.RunAsync();
    }

    /// The result's fields ("path", "metadata"). Throws AudioPoolException; with code "timeout" after `timeout`.
    public async Task<Dictionary<object, object>> GenerateAsync(
        string prompt, double durationSeconds, bool loop = false, TimeSpan? timeout = null)
    {
        var id = Guid.NewGuid().ToString("N");
        var answer = new TaskCompletionSource<Dictionary<object, object>>(TaskCreationOptions.RunContinuationsAsynchronously);
        _inFlight[id] = answer;
        Send("generate", id, new() { ["request"] = new Dictionary<string, object>
            { ["prompt"] = prompt, ["duration_s"] = durationSeconds, ["loop"] = loop } });
        var limit = timeout ?? TimeSpan.FromMinutes(5);
        if (await Task.WhenAny(answer.Task, Task.Delay(limit)) != answer.Task && _inFlight.TryRemove(id, out _))
        {
            // nobody waits for it any more; this also covers a server that went away
            Send("cancel", Guid.NewGuid().ToString("N"), new() { ["target"] = id });
            throw new AudioPoolException("timeout", $"no answer within {limit.TotalSeconds} s", true);
        }
        return await answer.Task;
    }

    private void Send(string type, string id, Dictionary<string, object> fields)
    {
        fields["v"] = 1;
        fields["type"] = type;
        fields["request_id"] = id;
        _outgoing.Enqueue(MessagePackSerializer.Serialize(fields));
    }

    private void Heard(List<byte[]> frames)
    {
        // with "delivery": "inline" the file's bytes are frames[1]
        var reply = (Dictionary<object, object>)MessagePackSerializer.Deserialize<object>(frames[0]);
        var type = (string)reply["type"];
        if (type is "accepted" or "progress" || !_inFlight.TryRemove((string)reply["request_id"], out var answer))
            return;
        if (type == "result")
        {
            answer.SetResult(reply);
            return;
        }
        var error = (Dictionary<object, object>)reply["error"];
        answer.SetException(new AudioPoolException(
            (string)error["code"], (string)error["message"], (bool)error["retryable"]));
    }

    public void Dispose()
    {
        _poller.Dispose();
        _outgoing.Dispose();
        _socket.Dispose();
    }
}
