-- user_note: put a line before those that tell a user what was changed, and keep the latest of them.
-- KEYS[1]  <prefix>user:{<user id>}        hash
-- ARGV[1]  the line (gateway/accounts/changes.py)
-- ARGV[2]  how many are kept
-- RETURNS  1 done, or done before | 0 no such user
-- CLOCK    none        COST  O(1), one key
-- CALLER   gateway/accounts/changes.py: Changes.note
if redis.call('HEXISTS', KEYS[1], 'email') == 0 then return 0 end
local lines = {ARGV[1]}
for line in string.gmatch(redis.call('HGET', KEYS[1], 'changes') or '', '[^\n]+') do
  -- Our own command may have been sent again after its answer was lost on the way.
  if line ~= ARGV[1] and #lines < tonumber(ARGV[2]) then lines[#lines + 1] = line end
end
redis.call('HSET', KEYS[1], 'changes', table.concat(lines, '\n'))
return 1
