-- The load: eleven request headers; path and trace id differ in every request, so that no proxy can
-- answer from a cache of heads it has seen. wrk calls request() before each request.
local template = table.concat({
  "GET /catalogue/%d/items?page=%d HTTP/1.1",
  "Host: %s",
  "Origin: https://shop.test",
  "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)",
  "Accept: application/json, text/plain;q=0.9, */*;q=0.8",
  "Accept-Encoding: gzip, deflate, br",
  "Accept-Language: en-GB,en;q=0.7,de;q=0.3",
  "Cookie: session=4f1c2a7be0d94d0c8f7d; theme=dark",
  "Authorization: Bearer eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJiZW5jaCJ9.c2lnbmF0dXJl",
  "traceparent: 00-%016x%016x-%016x-01",
  "X-Tenant: acme",
  "X-Client-Version: 7.14.2",
  "", "",
}, "\r\n")

local count = 0
local hosts = 0

function init(args)
  hosts = tonumber(args[1] or 0)
  math.randomseed(os.time())
  count = math.random(1, 1000000)
end

function request()
  count = count + 1
  local host = hosts > 0 and "shop-" .. count % hosts .. ".test" or "bench.test"
  return string.format(template, count, count % 97, host, count * 7919, count * 104729, count * 31)
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    'WRK {"requests": %d, "duration_us": %d, "p50_us": %d, "p99_us": %d, "not_2xx": %d, "broken": %d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
