-- Fake data of a city's buses: about 100,000 rows, every table, set-based. Needs the functions of
-- fake_data.py in the session. Numbers of rows are written where the rows are made.

INSERT INTO "AndroidRequests_gtfs" (id, version, "timeCreation") VALUES
  (1, 'v1.0', pg_temp.present() - interval '200 days 03:04:05.678901'),
  (2, 'v1.1-ñ', pg_temp.present() - interval '45 days 00:00:00.000001');

INSERT INTO "AndroidRequests_event" (id, name, description, lifespam, category, origin, "eventType")
SELECT
  'evn' || lpad((CASE WHEN n <= 14 THEN n ELSE 100 + n END)::text, 5, '0'),
  (ARRAY['Conductor fuma', 'Bus lleno', 'Sin aire 🥵', 'Validador malo', 'Panne',
         'Basura', 'Paradero dañado', 'Sin luz'])[1 + n % 8] || ' ' || n,
  CASE WHEN n % 5 = 0 THEN NULL ELSE pg_temp.awkward(n) END,
  10 * (1 + n % 6),
  (ARRAY['conductor', 'estado físico', 'validador', 'paradero'])[1 + n % 4],
  (ARRAY['i', 'o'])[1 + n % 2],
  CASE WHEN n <= 14 THEN 'bus' WHEN n <= 20 THEN 'busStop' ELSE 'Stop' END
FROM generate_series(1, 24) AS n;

INSERT INTO "AndroidRequests_level" (id, name, "minScore", "maxScore", "position")
SELECT n, (ARRAY['Novato', 'Viajero', 'Ñandú 🦤', 'Cóndor', 'Leyenda "micro"'])[n],
  1000 * (n - 1), 1000 * n - 0.1, n
FROM generate_series(1, 5) AS n;

INSERT INTO "AndroidRequests_scoreevent" (id, code, score)
SELECT n, 'SE' || lpad(n::text, 3, '0'), n * 1.1
FROM generate_series(1, 15) AS n;

INSERT INTO "AndroidRequests_busv2" (id, "registrationPlate", uuid)
SELECT n, pg_temp.plate(n), pg_temp.unique_id(n, 1)
FROM generate_series(1, 600) AS n;

-- The newer GTFS version has the same stops, a few of them moved across the street.
INSERT INTO "AndroidRequests_busstop" (id, longitude, latitude, code, name, gtfs_id)
SELECT
  (gtfs - 1) * 2000 + n,
  pg_temp.longitude(n, 2) + CASE WHEN gtfs = 2 AND n % 20 = 0 THEN 0.0002 ELSE 0 END,
  pg_temp.latitude(n, 3),
  'P' || chr(65 + (n % 10)::integer) || n,
  'P' || chr(65 + (n % 10)::integer) || n || '-' || left(CASE WHEN n % 25 = 0
    THEN pg_temp.awkward(n / 25)
    ELSE 'Avenida ' || pg_temp.pick(n, 4, 90) || ' / esq. Pasaje ' || pg_temp.pick(n, 5, 300)
  END, 60),
  gtfs
FROM generate_series(1, 2) AS gtfs, generate_series(1, 2000) AS n;

CREATE TEMPORARY TABLE fake_service ON COMMIT DROP AS
SELECT
  n,
  CASE
    WHEN n <= 40 THEN (100 + n)::text
    WHEN n <= 60 THEN 'B' || lpad((n - 40)::text, 2, '0')
    WHEN n <= 80 THEN 'H' || lpad((n - 60)::text, 2, '0')
    ELSE (400 + n)::text || (ARRAY['c', 'e', 'n', ''])[1 + n % 4]
  END AS service,
  pg_temp.longitude(n, 10) AS west, pg_temp.latitude(n, 11) AS south,
  pg_temp.longitude(n, 12) AS east, pg_temp.latitude(n, 13) AS north
FROM generate_series(1, 100) AS n;

INSERT INTO "AndroidRequests_service" (id, service, origin, destiny, color, color_id, gtfs_id)
SELECT
  (gtfs - 1) * 100 + n, service,
  CASE WHEN n % 10 = 0 THEN pg_temp.awkward(n / 10) ELSE 'Terminal ' || pg_temp.pick(n, 14, 40) END,
  'Plaza ' || pg_temp.pick(n, 15, 40),
  '#' || substr(md5(service), 1, 6), pg_temp.pick(n, 16, 9), gtfs
FROM generate_series(1, 2) AS gtfs, fake_service;

-- A line runs straight between two points, with the bends that streets have.
CREATE TEMPORARY TABLE fake_line ON COMMIT DROP AS
SELECT
  row_number() OVER (ORDER BY gtfs, n, direction) AS line, gtfs, n AS service_number,
  service || direction AS code,
  CASE direction WHEN 'I' THEN west ELSE east END AS from_longitude,
  CASE direction WHEN 'I' THEN south ELSE north END AS from_latitude,
  CASE direction WHEN 'I' THEN east ELSE west END AS to_longitude,
  CASE direction WHEN 'I' THEN north ELSE south END AS to_latitude
FROM fake_service, unnest(ARRAY['I', 'R']) AS direction, generate_series(1, 2) AS gtfs;

INSERT INTO "AndroidRequests_route" (id, longitude, latitude, "serviceCode", sequence, gtfs_id)
SELECT
  (line - 1) * 15 + step + 1,
  from_longitude + (to_longitude - from_longitude) * step / 14 + 0.001 * sin(line + step * 2.3),
  from_latitude + (to_latitude - from_latitude) * step / 14 + 0.001 * cos(line + step * 1.7),
  code, step, gtfs
FROM fake_line, generate_series(0, 14) AS step;

INSERT INTO "AndroidRequests_servicelocation" (id, longitude, latitude, service, distance, gtfs_id)
SELECT
  (line - 1) * 30 + step + 1,
  from_longitude + (to_longitude - from_longitude) * step / 29,
  from_latitude + (to_latitude - from_latitude) * step / 29,
  code, step * 20, gtfs
FROM fake_line, generate_series(0, 29) AS step;

-- 37 and the number of stops have no common divisor: the 17 stops of a line are distinct.
CREATE TEMPORARY TABLE fake_call ON COMMIT DROP AS
SELECT
  (line - 1) * 17 + step + 1 AS id, code, gtfs, service_number,
  (gtfs - 1) * 2000 + 1 + (pg_temp.pick(line, 17, 2000) + step * 37) % 2000 AS stop_id,
  step * 450 + pg_temp.pick(line * 17 + step, 18, 300) AS distance
FROM fake_line, generate_series(0, 16) AS step;

INSERT INTO "AndroidRequests_servicesbybusstop" (id, code, gtfs_id, "busStop_id", service_id)
SELECT id, code, gtfs, stop_id, (gtfs - 1) * 100 + service_number FROM fake_call;

INSERT INTO "AndroidRequests_servicestopdistance" (id, service, distance, gtfs_id, "busStop_id")
SELECT id, code, distance, gtfs, stop_id FROM fake_call;

INSERT INTO "AndroidRequests_transappuser" (
  id, "userId", name, email, "phoneId", "accountType", "globalScore", "sessionToken", level_id,
  "busAvatarId", nickname, "photoURI", "showAvatar", "userAvatarId")
SELECT
  n, 'user' || n, left(CASE WHEN n % 3 = 0 THEN pg_temp.awkward(n / 3) ELSE 'Persona ' || n END, 50),
  'persona' || n || '@example.cl', pg_temp.unique_id(n, 20),
  (ARRAY['GOOGLE', 'FACEBOOK'])[1 + n % 2], round((pg_temp.draw(n, 21) * 5000)::numeric, 3),
  pg_temp.unique_id(n, 22), 1 + floor(pg_temp.draw(n, 21) * 5)::integer, pg_temp.pick(n, 23, 4),
  left(CASE WHEN n % 7 = 0 THEN pg_temp.awkward(n / 7) ELSE 'apodo' || n END, 20),
  'https://example.cl/p?id=' || n || '&x="' || n || '"', n % 2 = 0, pg_temp.pick(n, 24, 6)
FROM generate_series(1, 300) AS n;

INSERT INTO "AndroidRequests_busassignment" (id, service, uuid_id)
SELECT assignment, service, bus
FROM generate_series(1, 900) AS assignment,
  LATERAL (SELECT 1 + (assignment - 1) % 600) AS assigned (bus),
  fake_service
WHERE n = 1 + (bus * 7 + assignment / 601 * 13) % 100;

INSERT INTO "AndroidRequests_nearbybuseslog" (id, "timeStamp", "phoneId", "busStop_id")
SELECT
  n, pg_temp.present() - pg_temp.draw(n, 30) * interval '30 days',
  pg_temp.unique_id(pg_temp.pick(n, 31, 1500), 20), pg_temp.pick(n, 32, 4000)
FROM generate_series(1, 2500) AS n;

-- A phone that rode a bus before it reported: events below come from the same 1,500 phones.
INSERT INTO "AndroidRequests_token" (
  id, token, direction, color, "phoneId", busassignment_id, "timeCreation", "userEvaluation",
  "tranSappUser_id")
SELECT
  n, repeat(md5(n::text || 'token'), 4), (ARRAY['I', 'R', NULL])[1 + pg_temp.pick(n, 33, 7) % 3],
  '#' || substr(md5(n::text), 1, 6), pg_temp.unique_id(pg_temp.pick(n, 34, 1500), 20),
  pg_temp.pick(n, 35, 900),
  CASE WHEN n % 50 = 0 THEN NULL
    ELSE pg_temp.present() - interval '10 minutes' - pg_temp.draw(n, 36) * interval '30 days' END,
  CASE WHEN n % 3 = 0 THEN pg_temp.pick(n, 37, 5) END,
  CASE WHEN n % 4 = 0 THEN pg_temp.pick(n, 38, 300) END
FROM generate_series(1, 2000) AS n;

INSERT INTO "AndroidRequests_scorehistory" (
  id, "timeCreation", "scoreEvent_id", meta, score, "tranSappUser_id")
SELECT
  n, pg_temp.present() - pg_temp.draw(n, 39) * interval '30 days', pg_temp.pick(n, 40, 15),
  CASE WHEN n % 6 = 0 THEN NULL
    ELSE json_build_object('token', md5(n::text), 'text', pg_temp.awkward(n))::text END,
  pg_temp.draw(n, 41) * 10, pg_temp.pick(n, 42, 300)
FROM generate_series(1, 3000) AS n;

-- Two hundred reports name a picture, fifteen one that got lost on its way. Both kinds of
-- reportInfo, in the spellings of several app versions, and 1 % that no reader can use.
INSERT INTO "AndroidRequests_report" (id, "timeStamp", message, "imageName", "reportInfo", "phoneId")
SELECT
  n, pg_temp.present() - pg_temp.draw(n, 50) * interval '30 days',
  CASE WHEN n % 4 = 0 THEN pg_temp.awkward(n / 4) ELSE 'Reporte número ' || n END,
  CASE
    WHEN n = 7 THEN 'paradero ñuñoa 7.jpeg'
    WHEN n % 7 = 0 AND n <= 1400 AND n % 5 = 0 THEN 'anteriores/' || pg_temp.unique_id(n, 51) || '.jpeg'
    WHEN n % 7 = 0 AND n <= 1400 THEN pg_temp.unique_id(n, 51) || '.jpeg'
    WHEN n % 100 = 1 THEN 'lost-' || pg_temp.unique_id(n, 51) || '.jpeg'
    WHEN n % 3 = 0 THEN 'no image'
  END,
  CASE
    WHEN n % 100 = 13 THEN (ARRAY['', 'not json', 'null', '[1, 2]', '{"bus": {"latitude": "NaN"'])[1 + n / 100 % 5]
    WHEN n % 3 = 0 THEN json_build_object(
      'locationUser', location,
      CASE WHEN n % 2 = 0 THEN 'bus_stop' ELSE 'busStop' END, json_build_object(
        'id', 'P' || chr(65 + stop % 10) || stop, 'name', pg_temp.awkward(n),
        'latitude', pg_temp.latitude(stop, 3), 'longitude', pg_temp.longitude(stop, 2)))::text
    ELSE json_build_object(
      'locationUser', location,
      'bus', json_build_object(
        'service', CASE WHEN n % 40 = 1 THEN 'Metrotren' ELSE (100 + n % 40)::text END,
        'licensePlate', pg_temp.plate(bus),
        'machineId', CASE n % 10
          WHEN 1 THEN '' WHEN 2 THEN pg_temp.unique_id(n, 52)::text
          ELSE pg_temp.unique_id(bus, 1)::text END,
        'latitude', pg_temp.latitude(n, 53), 'longitude', pg_temp.longitude(n, 54)))::text
  END,
  pg_temp.unique_id(pg_temp.pick(n, 55, 1500), 20)
FROM (
  SELECT
    n, pg_temp.pick(n, 56, 600) AS bus, pg_temp.pick(n, 57, 2000) AS stop,
    CASE n % 6
      WHEN 0 THEN json_build_object(
        'latitude', '\/' || pg_temp.latitude(n, 58), 'longitude', '\/' || pg_temp.longitude(n, 59))
      WHEN 1 THEN NULL
      ELSE json_build_object(
        'latitude', pg_temp.latitude(n, 58), 'longitude', pg_temp.longitude(n, 59))
    END AS location
  FROM generate_series(1, 1500) AS n
) AS report;

INSERT INTO "AndroidRequests_devicepositionintime" (id, longitude, latitude, "timeStamp", "phoneId")
SELECT
  n,
  CASE n WHEN 1 THEN 'NaN' WHEN 2 THEN 'Infinity' WHEN 3 THEN '-Infinity' WHEN 4 THEN '-0'
    ELSE pg_temp.longitude(n, 60) END,
  CASE n WHEN 1 THEN 1e-10 WHEN 2 THEN 123456789.12345679 WHEN 3 THEN 0.1
    ELSE pg_temp.latitude(n, 61) END,
  pg_temp.present() - pg_temp.draw(n, 62) * interval '30 days',
  pg_temp.unique_id(pg_temp.pick(n, 63, 1500), 20)
FROM generate_series(1, 6000) AS n;

INSERT INTO "AndroidRequests_activetoken" (id, "timeStamp", token_id)
SELECT n, pg_temp.present() - pg_temp.draw(n, 64) * interval '10 minutes', n * 50
FROM generate_series(1, 40) AS n;

INSERT INTO "AndroidRequests_poseintrajectoryoftoken" (
  id, longitude, latitude, "timeStamp", "inVehicleOrNot", token_id)
SELECT
  (token.id - 1) * 15 + step + 1,
  pg_temp.longitude(token.id, 65) + step * 0.0004, pg_temp.latitude(token.id, 66) - step * 0.0003,
  coalesce(token."timeCreation", pg_temp.present() - interval '20 days')
    + step * interval '31.25 seconds' + token.id * interval '1 microsecond',
  CASE WHEN pg_temp.pick(token.id * 15 + step, 67, 9) = 1 THEN 'non_vehicle' ELSE 'vehicle' END,
  token.id
FROM "AndroidRequests_token" AS token, generate_series(0, 14) AS step;

-- Creation times: recent ones are more frequent; the first two sit on the edges of a local day.
CREATE TEMPORARY TABLE fake_event ON COMMIT DROP AS
SELECT kind, n, created,
  least(pg_temp.present(), created + pg_temp.draw(n, 71 + kind) ^ 3 * interval '2 hours') AS latest
FROM (
  SELECT kind, n, CASE n
    WHEN 1 THEN midnight WHEN 2 THEN midnight - interval '1 microsecond'
    ELSE pg_temp.present() - pg_temp.draw(n, 73 + kind) ^ 2 * interval '30 days' END AS created
  FROM (VALUES (1, 5000), (2, 3000)) AS kinds (kind, events),
    generate_series(1, events) AS n,
    (SELECT date_trunc('day', pg_temp.present() AT TIME ZONE 'America/Santiago')
      AT TIME ZONE 'America/Santiago') AS day (midnight)
) AS created_event;

INSERT INTO "AndroidRequests_eventforbusv2" (
  id, "timeStamp", "timeCreation", "eventConfirm", "eventDecline", "phoneId", busassignment_id,
  event_id, "expireTime", broken, "brokenType")
SELECT
  n, latest, created, pg_temp.pick(n, 80, 30), pg_temp.pick(n, 81, 5) - 1,
  pg_temp.unique_id(pg_temp.pick(n, 82, 1500), 20), pg_temp.pick(n, 83, 900), event.id,
  CASE WHEN n % 60 > 0 THEN latest + event.lifespam * interval '1 minute' END,
  n % 45 = 0, CASE WHEN n % 45 = 0 THEN pg_temp.awkward(n / 45) END
FROM fake_event
JOIN "AndroidRequests_event" AS event
  ON event.id = 'evn' || lpad(pg_temp.pick(n, 84, 14)::text, 5, '0')
WHERE kind = 1;

INSERT INTO "AndroidRequests_eventforbusstop" (
  id, "timeStamp", "timeCreation", "eventConfirm", "eventDecline", "phoneId", "aditionalInfo",
  event_id, "stopCode", "expireTime", broken, "brokenType")
SELECT
  n, latest, created, pg_temp.pick(n, 85, 30), pg_temp.pick(n, 86, 5) - 1,
  pg_temp.unique_id(pg_temp.pick(n, 87, 1500), 20), pg_temp.awkward(n), event.id,
  'P' || chr(65 + pg_temp.pick(n, 88, 2000) % 10) || pg_temp.pick(n, 88, 2000),
  latest + event.lifespam * interval '1 minute', n % 50 = 0, CASE WHEN n % 50 = 0 THEN 'vandalismo' END
FROM fake_event
JOIN "AndroidRequests_event" AS event
  ON event.id = 'evn' || lpad((114 + pg_temp.pick(n, 89, 10))::text, 5, '0')
WHERE kind = 2;

-- The first report of an event, then later confirmations of some; one event in a hundred has none.
INSERT INTO "AndroidRequests_stadisticdatafromregistrationbus" (
  id, longitude, latitude, "timeStamp", "confirmDecline", "phoneId", "reportOfEvent_id", distance,
  "gpsLatitude", "gpsLongitude", "gpsTimeStamp", "tranSappUser_id")
SELECT
  statistic.n, pg_temp.longitude(statistic.n, 90), pg_temp.latitude(statistic.n, 91),
  CASE WHEN statistic.n <= 5000 THEN event."timeCreation" ELSE event."timeStamp" END,
  CASE WHEN pg_temp.pick(statistic.n, 92, 4) = 1 THEN 'decline' ELSE 'confirm' END,
  event."phoneId", event.id,
  CASE WHEN statistic.n % 9 > 0 THEN pg_temp.draw(statistic.n, 93) * 500 END,
  CASE WHEN statistic.n % 9 > 0 THEN pg_temp.latitude(statistic.n, 91) + 0.001 END,
  CASE WHEN statistic.n % 9 > 0 THEN pg_temp.longitude(statistic.n, 90) - 0.001 END,
  CASE WHEN statistic.n % 9 > 0 THEN event."timeCreation" - interval '20.5 seconds' END,
  CASE WHEN statistic.n % 3 = 0 THEN pg_temp.pick(statistic.n, 94, 300) END
FROM generate_series(1, 8000) AS statistic (n)
JOIN "AndroidRequests_eventforbusv2" AS event ON event.id = CASE
  WHEN statistic.n <= 5000 THEN statistic.n ELSE pg_temp.pick(statistic.n, 95, 5000) END
WHERE event.id % 100 <> 99;

INSERT INTO "AndroidRequests_stadisticdatafromregistrationbusstop" (
  id, longitude, latitude, "timeStamp", "confirmDecline", "phoneId", "reportOfEvent_id",
  "tranSappUser_id")
SELECT
  statistic.n, pg_temp.longitude(statistic.n, 96), pg_temp.latitude(statistic.n, 97),
  CASE WHEN statistic.n <= 3000 THEN event."timeCreation" ELSE event."timeStamp" END,
  CASE WHEN pg_temp.pick(statistic.n, 98, 4) = 1 THEN 'decline' ELSE 'confirm' END,
  event."phoneId", event.id,
  CASE WHEN statistic.n % 3 = 0 THEN pg_temp.pick(statistic.n, 99, 300) END
FROM generate_series(1, 5000) AS statistic (n)
JOIN "AndroidRequests_eventforbusstop" AS event ON event.id = CASE
  WHEN statistic.n <= 3000 THEN statistic.n ELSE pg_temp.pick(statistic.n, 100, 3000) END
WHERE event.id % 100 <> 99;
