-- guess_settle: say what became of an attempt that guess_take let be heard. Works when Redis is at maxmemory.
-- INCLUDES limits/guess_lane
-- KEYS[1]  <prefix>guess:{<sha-256 of the e-mail>}  hash: lane -> failures in a row and attempts of the last minute
-- ARGV[1]  lane                             "unknown", "change-password", "otp", or the id of a known device
-- ARGV[2]  attempt id                       letters and digits
-- ARGV[3]  failures that close the lane     until an administrator opens it
-- ARGV[4]  memory                           seconds for each failure, after which all are forgotten
-- ARGV[5]  memory of a closed lane          seconds
-- ARGV[6]  outcome                          "failure" counts | "success" ends the count of the lane
--                                           "unheard" takes the attempt back, counted as a failure or not
-- RETURNS  1
-- CLOCK    Redis TIME, milliseconds         COST  O(lanes of the account with failures), one key with a TTL
-- CALLER   gateway/limits/guessing.py: GuessingThrottle._tell
local now = now_milliseconds()
local lane = read_lane(redis.call('HGET', KEYS[1], ARGV[1]), now)
local attempt, place = find_attempt(lane, ARGV[2])
if ARGV[6] == 'failure' then
  if not attempt then
    attempt = {id = ARGV[2], begun = now}
    lane.attempts[#lane.attempts + 1] = attempt
  end
  attempt.state = 'f'
elseif attempt then
  table.remove(lane.attempts, place)
end
if ARGV[6] == 'success' then
  lane.failures, lane.last = 0, 0
  for i = #lane.attempts, 1, -1 do
    if lane.attempts[i].state == 'f' then table.remove(lane.attempts, i) end
  end
end
-- At maxmemory Redis refuses the first write of a script if it may need memory: this one changes nothing.
redis.call('HDEL', KEYS[1], '')
write_lane(KEYS[1], ARGV[1], lane, now, tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]))
return 1
