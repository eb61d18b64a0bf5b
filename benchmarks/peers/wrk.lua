-- What wrk sends: METHOD and BODY, and with a FILE of tokens another one of them each time. Prints one line of JSON.

function init(arguments)
    wrk.method = arguments[1]
    if arguments[2] ~= "" then
        wrk.body = arguments[2]
    end
    if arguments[3] then
        local requests, next_one = {}, 0
        for token in io.lines(arguments[3]) do
            wrk.headers["Authorization"] = "Bearer " .. token
            requests[#requests + 1] = wrk.format()
        end
        request = function()
            next_one = next_one % #requests + 1
            return requests[next_one]
        end
    end
end

function done(summary, latency)
    local errors = summary.errors
    print(string.format(
        'RESULT {"requests": %d, "seconds": %.6f, "refused": %d, "broken": %d, "p50_ms": %.3f, "p99_ms": %.3f}',
        summary.requests, summary.duration / 1e6, errors.status,
        errors.connect + errors.read + errors.write + errors.timeout,
        latency:percentile(50) / 1000, latency:percentile(99) / 1000
    ))
end
