-- gcra_take: one attempt against a quota, by the generic cell rate algorithm (a leaky bucket that stores one time).
-- KEYS[1]  <prefix>rate:<limit>:<address>  string: theoretical arrival time (tat), microseconds
-- ARGV[1]  emission interval               microseconds between two attempts at the steady rate, > 0
-- ARGV[2]  burst                           attempts that may come at once, >= 1
-- RETURNS  {1, attempts left, 0, microseconds until the quota is whole again}
--          {0, 0, microseconds until one more is heard, microseconds until the quota is whole again}
-- CLOCK    Redis TIME, microseconds        COST  O(1), one key with a TTL
-- CALLER   gateway/limits/rate_limits.py: RateLimiter.take
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local stored = tonumber(redis.call('GET', KEYS[1]) or now)
-- Never further ahead than a used-up quota: neither a quota made smaller nor a clock set back locks anybody out.
local tat = math.min(math.max(stored, now), now + burst * interval)
local allow_at = tat + interval - burst * interval
if allow_at <= now then tat = tat + interval end
if tat ~= stored then
  redis.call('SET', KEYS[1], string.format('%.0f', tat), 'PX', math.max(1, math.ceil((tat - now) / 1000)))
end
if allow_at > now then return {0, 0, allow_at - now, tat - now} end
return {1, math.floor((now - allow_at) / interval), 0, tat - now}
