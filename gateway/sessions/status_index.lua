-- status_index: take a block of indexes of a status list, which nobody was given and nobody will be. A server that is
-- not the one that wrote the key last (restarted, promoted, put back) may have lost blocks: there a new list begins.
-- KEYS[1]  <prefix>status-index            hash: server, list, next
-- ARGV[1]  candidate                       number of a list that may begin, 22 digits
-- ARGV[2]  size of the block               positions, >= 1
-- ARGV[3]  size of a list                  positions
-- ARGV[4]  list that the caller saw last   22 digits, or ""; what is older has been lost
-- ARGV[5]  first position of it            that the caller has not seen given
-- ARGV[6]  list that is none of ours       22 digits, or ""; as if it were not there
-- RETURNS  {list, first position of the block}
--          {list} the candidate would not be newer than this list, which can't be gone on with: come again
-- CLOCK    none                            COST  O(1), and INFO, of two sections; one key
-- CALLER   gateway/sessions/status_indexes.py: StatusIndexes.new_session_id
local function fact(section, name)
  return string.match(redis.call('INFO', section), name .. ':(%w+)') or ''
end

-- A process keeps what it has; a promotion changes the name of the history also where the process is the same.
local run, history = fact('server', 'run_id'), fact('replication', 'master_replid')
local server = run ~= '' and history ~= '' and run .. ' ' .. history or ''
local size, most = tonumber(ARGV[2]), tonumber(ARGV[3])
local stored = redis.call('HMGET', KEYS[1], 'server', 'list', 'next')
local list, first = stored[2] or '', tonumber(stored[3] or '') or -1

if #list ~= 22 or string.find(list, '%D') or list == ARGV[6] then list = '' end
local is_known = list ~= '' and server ~= '' and stored[1] == server and first >= 0 and first % 1 == 0
local is_behind = list < ARGV[4] or (list == ARGV[4] and first < tonumber(ARGV[5]))
if not is_known or is_behind or first + size > most then
  if ARGV[1] <= list then return {list} end
  list, first = ARGV[1], 0
end
redis.call('HSET', KEYS[1], 'server', server, 'list', list, 'next', string.format('%.0f', first + size))
return {list, first}
