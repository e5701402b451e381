-- The server's time: `now` in microseconds since 1970, `now_ms` in milliseconds.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local now_ms = math.floor(now / 1000)
