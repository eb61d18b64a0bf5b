-- token_record: how one personal token is packed; included by every script that touches personal tokens.
--   state    1 byte   bit 0: a mark: its revocation may not have been announced yet; bit 1: it has roles of its own
--   created  6 bytes  Redis time, milliseconds
--   ends     6 bytes  the first millisecond in which it is over
--   used     6 bytes  Redis time of its last use, 0 for never; of a mark when it was made, milliseconds
--   name     1 byte length, UTF-8
--   roles    the rest: its own roles, comma-separated

-- A mark stays for as long as somebody may still pass who was seen before it: an hour at most, and a minute.
local mark_milliseconds = 3660000

local function now_milliseconds()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function unpack_token(packed)
  local token, state, length = {}, nil, nil
  state, token.created, token.ends, token.used, length = struct.unpack('>BI6I6I6B', packed)
  token.marked, token.own_roles = state % 2 == 1, state >= 2
  token.name, token.roles = string.sub(packed, 21, 20 + length), string.sub(packed, 21 + length)
  return token
end

local function pack_token(token)
  local state = (token.marked and 1 or 0) + (token.own_roles and 2 or 0)
  return struct.pack('>BI6I6I6B', state, token.created, token.ends, token.used, #token.name) .. token.name .. token.roles
end

-- The first millisecond in which the record is good for nothing.
local function token_end(token)
  if token.marked then return token.used + mark_milliseconds end
  return token.ends
end

-- Lets the whole hash expire with its last token.
local function expire_tokens(key)
  local last = 0
  for _, packed in ipairs(redis.call('HVALS', key)) do last = math.max(last, token_end(unpack_token(packed))) end
  if last > 0 then redis.call('PEXPIREAT', key, string.format('%.0f', last)) end
end

-- At maxmemory Redis refuses the first write of a script if it may need memory, and lets the later ones pass. What has
-- to work even then begins with this write, which changes nothing.
local function write_at_maxmemory(key)
  redis.call('HDEL', key, '')
end

-- A token, or a mark; where there is none, or it is over and taken away with that, nil and the outcome.
local function find_token(key, id, now)
  local packed = redis.call('HGET', key, id)
  if not packed then return nil, 'unknown' end
  local token = unpack_token(packed)
  if now >= token_end(token) then
    redis.call('HDEL', key, id)
    return nil, token.marked and 'unknown' or 'expired'
  end
  return token
end
