-- guess_take: let one attempt to prove a password be heard, or refuse it. Until guess_settle says what became of it, it
-- counts against those that come beside it, so that no burst of parallel attempts slips through.
-- INCLUDES limits/guess_lane
-- KEYS[1]  <prefix>guess:{<sha-256 of the e-mail>}  hash: lane -> failures in a row and attempts of the last minute
-- ARGV[1]  lane                             "unknown", "change-password", "otp", or the id of a known device
-- ARGV[2]  attempt id                       letters and digits
-- ARGV[3]  failures that close the lane     until an administrator opens it
-- ARGV[4]  memory                           seconds for each failure, after which all are forgotten
-- ARGV[5]  memory of a closed lane          seconds
-- ARGV[6]  failures that are free           attempts beyond wait
-- ARGV[7]  first wait                       seconds; doubles with each further failure
-- ARGV[8]  longest wait                     seconds
-- RETURNS  {"heard", 0} look at the password | {"wait", seconds} | {"closed", failures}
--          {"beside", attempts} so many are being heard that one more might be one too many: ask again soon
-- CLOCK    Redis TIME, milliseconds         COST  O(lanes of the account with failures), one key with a TTL
-- CALLER   gateway/limits/guessing.py: GuessingThrottle._ask
local now = now_milliseconds()
local closes_at, memory, closed_memory = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local lane = read_lane(redis.call('HGET', KEYS[1], ARGV[1]), now)
if now >= lane_end(lane, closes_at, memory, closed_memory) then lane = read_lane('', now) end
if find_attempt(lane, ARGV[2]) then return {'heard', 0} end

local failures, last = count_failures(lane)
if failures >= closes_at then return {'closed', failures} end
local over = failures - tonumber(ARGV[6])
local wait_seconds = over >= 0 and math.min(tonumber(ARGV[7]) * 2 ^ math.min(over, 30), tonumber(ARGV[8])) or 0
local left = last + wait_seconds * 1000 - now
if left > 0 then return {'wait', math.ceil(left / 1000)} end

local heard = 0
for _, attempt in ipairs(lane.attempts) do
  if attempt.state == 'h' then heard = heard + 1 end
end
if heard >= math.max(1, -over) then return {'beside', heard} end
lane.attempts[#lane.attempts + 1] = {id = ARGV[2], begun = now, state = 'h'}
write_lane(KEYS[1], ARGV[1], lane, now, closes_at, memory, closed_memory)
return {'heard', 0}
