-- guess_settle: say what became of an attempt that guess_take counted as a failure, if it was none.
-- KEYS[1]  <prefix>guess:{<sha-256 of the e-mail>}  hash: lane -> "failures in a row:heard again from (ms)"
-- ARGV[1]  lane                             "unknown", or the id of a known device
-- ARGV[2]  "success" ends the count of the lane | "unheard" takes one failure back: the password was not looked at
-- RETURNS  1
-- CLOCK    none                             COST  O(1), one key
-- CALLER   gateway/guessing.py: GuessingThrottle.succeed, GuessingThrottle.take_back
local failures = string.match(redis.call('HGET', KEYS[1], ARGV[1]) or '', '^(%d+):')
if not failures then return 1 end
if ARGV[2] == 'success' or tonumber(failures) <= 1 then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], string.format('%d:0', tonumber(failures) - 1))
end
return 1
