-- guess_take: count one attempt to log in to an account as a failure, until guess_settle says better; or refuse it.
-- Counting first lets no burst of parallel attempts slip through.
-- KEYS[1]  <prefix>guess:{<sha-256 of the e-mail>}  hash: lane -> "failures in a row:heard again from (ms)"
-- ARGV[1]  lane                             "unknown", or the id of a known device
-- ARGV[2]  failures that are free           attempts beyond wait
-- ARGV[3]  first wait                       seconds; doubles with each further failure
-- ARGV[4]  longest wait                     seconds
-- ARGV[5]  failures that close the lane     until an administrator opens it
-- ARGV[6]  memory                           seconds after which failures are forgotten
-- ARGV[7]  memory of a closed lane          seconds
-- RETURNS  {1, failures in a row} take it | {0, seconds to wait} | {-1, failures} the lane is closed
-- CLOCK    Redis TIME, milliseconds         COST  O(1), one key with a TTL
-- CALLER   gateway/guessing.py: GuessingThrottle.take
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local failures, heard_from = string.match(redis.call('HGET', KEYS[1], ARGV[1]) or '0:0', '^(%d+):(%d+)$')
failures, heard_from = tonumber(failures), tonumber(heard_from)
local closes_at = tonumber(ARGV[5])
if failures >= closes_at then return {-1, failures} end
if now < heard_from then return {0, math.ceil((heard_from - now) / 1000)} end

failures = failures + 1
local over = failures - tonumber(ARGV[2])
local wait_seconds = over >= 0 and math.min(tonumber(ARGV[3]) * 2 ^ math.min(over, 30), tonumber(ARGV[4])) or 0
redis.call('HSET', KEYS[1], ARGV[1], string.format('%d:%.0f', failures, now + wait_seconds * 1000))
local memory = tonumber(failures >= closes_at and ARGV[7] or ARGV[6])
if redis.call('TTL', KEYS[1]) < memory then redis.call('EXPIRE', KEYS[1], memory) end
return {1, failures}
