-- factor_record: how one second factor is packed; included by every script that touches factors.
--   kind        1 byte   1 a time-based code, 2 a passkey, 3 a set of recovery codes
--   created     6 bytes  when it was added, seconds
--   used        6 bytes  when it was last used, seconds; 0 for never
--   number      6 bytes  kind 1: the last time step that was accepted (RFC 6238)
--                        kind 2: the last signature counter (WebAuthn)
--                        kind 3: a bit for each code that has been used
--   nonce       4 bytes  of the request that used it last; 0 for none
--   body        what else there is, sealed: only the gateways can read it
local RECOVERY = 3

local function unpack_factor(packed)
  local factor = {}
  factor.kind, factor.created, factor.used, factor.number, factor.nonce = struct.unpack('>BI6I6I6I4', packed)
  factor.body = string.sub(packed, 24)
  return factor
end

local function pack_factor(factor)
  return struct.pack('>BI6I6I6I4', factor.kind, factor.created, factor.used, factor.number, factor.nonce) .. factor.body
end

-- Gives how many factors of a kind there are, their ids, and how many with which a login can be made alone: recovery
-- codes are for those who have lost one of these.
local function count_factors(key, kind)
  local fields, of_kind, ids, first_class = redis.call('HGETALL', key), 0, {}, 0
  for i = 1, #fields, 2 do
    local one = unpack_factor(fields[i + 1]).kind
    if one == kind then
      of_kind = of_kind + 1
      ids[#ids + 1] = fields[i]
    end
    if one ~= RECOVERY then first_class = first_class + 1 end
  end
  return of_kind, ids, first_class
end
