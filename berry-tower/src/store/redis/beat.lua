-- Tells that this process is alive, and returns how many are. With more keys, holds the slots whose
-- names follow the process's.
local alive = math.floor(now / 1000)
if #KEYS == 1 and #ARGV == 1 then
  redis.call('ZADD', KEYS[1], alive, ARGV[1])
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', alive - 10000)
  redis.call('PEXPIRE', KEYS[1], 60000)
  return redis.call('ZCARD', KEYS[1])
end
for i = 2, #ARGV do
  redis.call('ZADD', KEYS[1], 'XX', alive + 30000, ARGV[i])
end
redis.call('PEXPIRE', KEYS[1], 60000)
return 1
