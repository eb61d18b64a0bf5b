-- email_release: free an e-mail address, if it still belongs to the user who gives it up.
-- KEYS[1]  <prefix>email:<sha-256>         string: user id
-- ARGV[1]  user id
-- RETURNS  1 freed, 0 not his
-- CLOCK    none                            COST  O(1), one key
-- CALLER   gateway/accounts/users.py: Users.remove
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
