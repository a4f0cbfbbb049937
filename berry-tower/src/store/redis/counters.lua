-- The counters, in the same integers as `store/protocol.rs`. Every number stays below 2^53.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local function text(n)
  return string.format('%.0f', n)
end
-- The number of the calendar's window that holds now.
local function window(kind)
  local days = math.floor(now / 86400000000)
  if kind == 't' then return 0 end
  if kind == 'd' then return days end
  local z = days + 719468
  local era = math.floor(z / 146097)
  local of_era = z - era * 146097
  local year = math.floor((of_era - math.floor(of_era / 1460) + math.floor(of_era / 36524) - math.floor(of_era / 146096)) / 365)
  local of_year = of_era - (365 * year + math.floor(year / 4) - math.floor(year / 100))
  local from_march = math.floor((5 * of_year + 2) / 153)
  local month = from_march < 10 and from_march + 3 or from_march - 9
  year = year + era * 400
  if month <= 2 then year = year + 1 end
  return year * 12 + month - 1
end
-- All units ever taken, those of them that have refilled, and up to when.
local function rolling(key, limit, period)
  local h = redis.call('HMGET', key, 't', 'r', 'a')
  local taken, refilled, at = tonumber(h[1] or ''), tonumber(h[2] or ''), tonumber(h[3] or '')
  if not (taken and refilled and at) then return now, now, now end
  local units = math.floor(math.max(0, now - at) * limit / period)
  if units >= taken - refilled then return taken, taken, math.max(at, now) end
  if units > 0 then
    refilled = refilled + units
    at = at + math.ceil(units * period / limit)
  end
  return taken, refilled, at
end
local function write_rolling(key, taken, refilled, at, period)
  redis.call('HSET', key, 't', text(taken), 'r', text(refilled), 'a', text(at))
  -- Longer than any request, whose units would otherwise be given back to a new counter.
  redis.call('PEXPIRE', key, text(math.ceil(period / 1000) * 2 + 3600000))
end
local function calendar(key, kind)
  local number = window(kind)
  local h = redis.call('HMGET', key, 'w', 'u')
  local w, used = tonumber(h[1] or ''), tonumber(h[2] or '')
  -- A clock that was set back does not begin an old window anew.
  if w and used and w >= number then return w, used end
  return number, 0
end
local function write_calendar(key, kind, number, used)
  redis.call('HSET', key, 'w', text(number), 'u', text(used))
  if kind == 'd' then redis.call('PEXPIRE', key, 259200000) end
  if kind == 'm' then redis.call('PEXPIRE', key, 6048000000) end
end
