-- token_list: list the personal tokens of a user that are good, as far as it is for them to say.
-- INCLUDES machines/token_record
-- KEYS[1]  <prefix>tokens:{<user id>}      hash: token id -> packed record
-- KEYS[2]  <prefix>user:{<user id>}        hash: roles
-- RETURNS  {roles of the owner, then for each token: token id, created, ends, last use or 0, name, "own" or "", its own
--          roles}   times in milliseconds
-- CLOCK    Redis TIME, milliseconds        COST  O(tokens of the user), two keys, one slot; writes nothing
-- CALLER   gateway/machines/personal_tokens.py: PersonalTokens.all
local now, fields = now_milliseconds(), redis.call('HGETALL', KEYS[1])
local reply = {redis.call('HGET', KEYS[2], 'roles') or ''}
for i = 1, #fields, 2 do
  local token = unpack_token(fields[i + 1])
  if not token.marked and now < token.ends then
    for _, word in ipairs({fields[i], token.created, token.ends, token.used, token.name,
      token.own_roles and 'own' or '', token.roles}) do
      reply[#reply + 1] = word
    end
  end
end
return reply
