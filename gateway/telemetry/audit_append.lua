-- audit_append: append a batch of security events, unless this very batch is there already.
-- KEYS[1]  <prefix>audit                   stream: an entry for each event
-- ARGV[1]  most entries                    about so many of the newest stay
-- ARGV[2]  last entry known to the writer  id of the last one that it has written, or ""
-- ARGV[3]  entries to look through         the newest, back to the one above at most
-- ARGV[4+] events                          MessagePack: names and values in turn; the time and the request tell one
--                                          from another
-- RETURNS  id of the last entry of the batch
-- CLOCK    none                            COST  O(events + entries looked through), one key
-- CALLER   gateway/telemetry/audit_trail.py: AuditTrail._write
local last, most = cmsgpack.unpack(ARGV[#ARGV]), 100

local function is_last(fields)
  if #fields ~= #last then return false end
  for i = 1, #last do
    if fields[i] ~= last[i] then return false end
  end
  return true
end

-- A script is one step: with the last event of a batch all of it is there.
local newest, oldest, left = '+', ARGV[2] == '' and '-' or '(' .. ARGV[2], tonumber(ARGV[3])
while left > 0 do
  local entries = redis.call('XREVRANGE', KEYS[1], newest, oldest, 'COUNT', math.min(left, most))
  for _, entry in ipairs(entries) do
    if is_last(entry[2]) then return entry[1] end
  end
  left = #entries == most and left - most or 0
  newest = #entries > 0 and '(' .. entries[#entries][1] or newest
end

local id
for i = 4, #ARGV do id = redis.call('XADD', KEYS[1], '*', unpack(cmsgpack.unpack(ARGV[i]))) end
redis.call('XTRIM', KEYS[1], 'MAXLEN', '~', ARGV[1])
return id
