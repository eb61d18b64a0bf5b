-- user_create: write a new user, or settle that a user who is not written yet never will be.
-- KEYS[1]  <prefix>user:{<user id>}        hash
-- ARGV[1]  how long a refusal is kept      seconds, > 0
-- ARGV[2+] field, value, ... of the new user, email among them; none to refuse
-- RETURNS  "there" the user is written, now or before | "refused" and will not be
-- CLOCK    Redis TIME, seconds             COST  O(1), one key
-- CALLER   gateway/accounts/users.py: Users.add
if redis.call('HEXISTS', KEYS[1], 'email') == 1 then return 'there' end
if redis.call('EXISTS', KEYS[1]) == 1 then return 'refused' end
if #ARGV > 1 then
  redis.call('HSET', KEYS[1], unpack(ARGV, 2))
  return 'there'
end
redis.call('HSET', KEYS[1], 'refused', '1')
redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', (redis.call('TIME')[1] + ARGV[1]) * 1000))
return 'refused'
