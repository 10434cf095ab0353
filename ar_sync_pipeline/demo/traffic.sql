-- One burst of production. Needs the functions of fake_data.py with the seed of the burst.
-- Statements are counted by their first words: new rows, changed rows, and rows that go.

CREATE TEMPORARY TABLE burst_chance ON COMMIT DROP AS
SELECT
  pg_temp.present() - pg_temp.draw(n, 1) * interval '20 seconds' AS moment, n
FROM generate_series(1, 400) AS n;

-- Some phones that report rode a bus before.
CREATE TEMPORARY TABLE burst_phone ON COMMIT DROP AS
SELECT row_number() OVER (ORDER BY pg_temp.draw(id, 2), id) AS n, "phoneId"
FROM "AndroidRequests_token" ORDER BY 1 LIMIT 100;

-- New buses, on new and on known services; known buses on a service of their own.
INSERT INTO "AndroidRequests_busv2" ("registrationPlate", uuid)
SELECT pg_temp.plate(n + floor(pg_temp.draw(n, 3) * 1000000)::bigint), pg_temp.unique_id(n, 4)
FROM generate_series(1, 3) AS n;

CREATE TEMPORARY TABLE burst_bus ON COMMIT DROP AS
SELECT row_number() OVER (ORDER BY bus.id) AS n, bus.id, bus.uuid, bus."registrationPlate"
FROM generate_series(1, 3) AS n
JOIN "AndroidRequests_busv2" AS bus ON bus.uuid = pg_temp.unique_id(n, 4);

INSERT INTO "AndroidRequests_busassignment" (service, uuid_id)
SELECT (ARRAY['101', 'B07', '506x'])[n], id FROM burst_bus ORDER BY n;

INSERT INTO "AndroidRequests_busassignment" (service, uuid_id)
SELECT DISTINCT 'X' || pg_temp.pick(n, 5, 9999), pg_temp.pick(n, 6, 600)
FROM generate_series(1, 2) AS n ORDER BY 1, 2
ON CONFLICT DO NOTHING;

CREATE TEMPORARY TABLE burst_assignment ON COMMIT DROP AS
SELECT row_number() OVER (ORDER BY id DESC) AS n, id
FROM "AndroidRequests_busassignment" ORDER BY 1 LIMIT 30;

-- New events and what was reported with them.
INSERT INTO "AndroidRequests_eventforbusv2" (
  "timeStamp", "timeCreation", "eventConfirm", "eventDecline", "phoneId", busassignment_id,
  event_id, "expireTime", broken, "brokenType")
SELECT moment, moment, 1, 0, "phoneId", assignment.id, event.id,
  moment + event.lifespam * interval '1 minute', false, NULL
FROM burst_chance AS chance
JOIN burst_phone AS phone USING (n)
JOIN burst_assignment AS assignment ON assignment.n = 1 + (chance.n - 1) % 30
JOIN "AndroidRequests_event" AS event
  ON event.id = 'evn' || lpad(pg_temp.pick(chance.n, 7, 14)::text, 5, '0')
WHERE chance.n <= 40 ORDER BY chance.n;

CREATE TEMPORARY TABLE burst_bus_event ON COMMIT DROP AS
SELECT id, "timeCreation", "phoneId" FROM "AndroidRequests_eventforbusv2" ORDER BY id DESC LIMIT 40;

INSERT INTO "AndroidRequests_stadisticdatafromregistrationbus" (
  longitude, latitude, "timeStamp", "confirmDecline", "phoneId", "reportOfEvent_id", distance,
  "gpsLatitude", "gpsLongitude", "gpsTimeStamp", "tranSappUser_id")
SELECT pg_temp.longitude(id, 8), pg_temp.latitude(id, 9), "timeCreation", 'confirm', "phoneId", id,
  pg_temp.draw(id, 10) * 500, pg_temp.latitude(id, 9), pg_temp.longitude(id, 8),
  "timeCreation" - interval '5 seconds',
  CASE WHEN id % 3 = 0 THEN pg_temp.pick(id, 11, 300) END
FROM burst_bus_event ORDER BY id;

INSERT INTO "AndroidRequests_eventforbusstop" (
  "timeStamp", "timeCreation", "eventConfirm", "eventDecline", "phoneId", "aditionalInfo",
  event_id, "stopCode", "expireTime", broken, "brokenType")
SELECT moment, moment, 1, 0, "phoneId", pg_temp.awkward(chance.n), event.id,
  'P' || chr(65 + stop % 10) || stop, moment + event.lifespam * interval '1 minute', false, NULL
FROM burst_chance AS chance
JOIN burst_phone AS phone USING (n)
CROSS JOIN LATERAL pg_temp.pick(chance.n, 12, 2000) AS stop
JOIN "AndroidRequests_event" AS event
  ON event.id = 'evn' || lpad((114 + pg_temp.pick(chance.n, 13, 10))::text, 5, '0')
WHERE chance.n BETWEEN 41 AND 60 ORDER BY chance.n;

CREATE TEMPORARY TABLE burst_stop_event ON COMMIT DROP AS
SELECT id, "timeCreation", "phoneId"
FROM "AndroidRequests_eventforbusstop" ORDER BY id DESC LIMIT 20;

INSERT INTO "AndroidRequests_stadisticdatafromregistrationbusstop" (
  longitude, latitude, "timeStamp", "confirmDecline", "phoneId", "reportOfEvent_id",
  "tranSappUser_id")
SELECT pg_temp.longitude(id, 14), pg_temp.latitude(id, 15), "timeCreation", 'confirm', "phoneId", id,
  CASE WHEN id % 3 = 0 THEN pg_temp.pick(id, 16, 300) END
FROM burst_stop_event ORDER BY id;

INSERT INTO "AndroidRequests_report" ("timeStamp", message, "imageName", "reportInfo", "phoneId")
SELECT moment, pg_temp.awkward(chance.n),
  CASE chance.n % 5
    WHEN 1 THEN pg_temp.unique_id(chance.n, 17) || '.jpeg'
    WHEN 2 THEN 'nuevas/' || pg_temp.unique_id(chance.n, 17) || '.jpeg'
    WHEN 3 THEN 'no image'
  END,
  json_build_object(
    'locationUser', json_build_object(
      'latitude', pg_temp.latitude(chance.n, 18), 'longitude', pg_temp.longitude(chance.n, 19)),
    'bus', json_build_object(
      'service', '101', 'licensePlate', bus."registrationPlate", 'machineId', bus.uuid,
      'latitude', pg_temp.latitude(chance.n, 20), 'longitude', pg_temp.longitude(chance.n, 21)))::text,
  "phoneId"
FROM burst_chance AS chance
JOIN burst_phone AS phone USING (n)
JOIN burst_bus AS bus ON bus.n = 1 + chance.n % 3
WHERE chance.n BETWEEN 61 AND 70 ORDER BY chance.n;

CREATE TEMPORARY TABLE burst_report ON COMMIT DROP AS
SELECT id FROM "AndroidRequests_report" ORDER BY id DESC LIMIT 10;

-- Others confirm or decline earlier events: timeStamp moves, and a statistic is added.
CREATE TEMPORARY TABLE burst_confirmed ON COMMIT DROP AS
SELECT id, pg_temp.draw(id, 22) < 0.7 AS confirm,
  pg_temp.present() - pg_temp.draw(id, 23) * interval '20 seconds' AS moment
FROM "AndroidRequests_eventforbusv2"
WHERE id NOT IN (SELECT id FROM burst_bus_event)
ORDER BY pg_temp.draw(id, 24), id LIMIT 15;

UPDATE "AndroidRequests_eventforbusv2" AS event
SET "timeStamp" = moment, "expireTime" = moment + interval '30 minutes',
  "eventConfirm" = "eventConfirm" + confirm::integer,
  "eventDecline" = "eventDecline" + (NOT confirm)::integer
FROM burst_confirmed AS confirmed WHERE confirmed.id = event.id;

INSERT INTO "AndroidRequests_stadisticdatafromregistrationbus" (
  longitude, latitude, "timeStamp", "confirmDecline", "phoneId", "reportOfEvent_id")
SELECT pg_temp.longitude(id, 25), pg_temp.latitude(id, 26), moment,
  CASE WHEN confirm THEN 'confirm' ELSE 'decline' END, pg_temp.unique_id(id, 27), id
FROM burst_confirmed ORDER BY id;

UPDATE "AndroidRequests_eventforbusstop"
SET "timeStamp" = pg_temp.present() - pg_temp.draw(id, 28) * interval '20 seconds',
  "eventConfirm" = "eventConfirm" + 1
WHERE id IN (
  SELECT id FROM "AndroidRequests_eventforbusstop" ORDER BY pg_temp.draw(id, 29), id LIMIT 10);

-- Changes that leave the time column alone, or whose table has none.
UPDATE "AndroidRequests_eventforbusv2"
SET broken = NOT broken, "brokenType" = CASE WHEN broken THEN NULL ELSE pg_temp.awkward(id) END
WHERE id IN (
  SELECT id FROM "AndroidRequests_eventforbusv2" ORDER BY pg_temp.draw(id, 30), id LIMIT 5);

UPDATE "AndroidRequests_eventforbusstop"
SET "expireTime" = pg_temp.present(), broken = true
WHERE id IN (
  SELECT id FROM "AndroidRequests_eventforbusstop" ORDER BY pg_temp.draw(id, 31), id LIMIT 3);

UPDATE "AndroidRequests_busv2" SET "registrationPlate" = 'zz' || lpad(pg_temp.pick(id, 32, 9999)::text, 4, '0')
WHERE id IN (SELECT id FROM "AndroidRequests_busv2" ORDER BY pg_temp.draw(id, 33), id LIMIT 1);

UPDATE "AndroidRequests_token" SET "userEvaluation" = 1 + coalesce("userEvaluation", 0) % 5
WHERE id IN (SELECT id FROM "AndroidRequests_token" ORDER BY pg_temp.draw(id, 34), id LIMIT 8);

UPDATE "AndroidRequests_transappuser"
SET "globalScore" = "globalScore" + 1.1, "sessionToken" = pg_temp.unique_id(id, 35)
WHERE id IN (SELECT id FROM "AndroidRequests_transappuser" ORDER BY pg_temp.draw(id, 36), id LIMIT 6);

-- People on the move.
INSERT INTO "AndroidRequests_token" (
  token, direction, color, "phoneId", busassignment_id, "timeCreation", "tranSappUser_id")
SELECT repeat(md5(pg_temp.unique_id(chance.n, 37)::text), 4), (ARRAY['I', 'R'])[1 + chance.n % 2],
  '#00a0f0', "phoneId", assignment.id, moment, NULL
FROM burst_chance AS chance
JOIN burst_phone AS phone USING (n)
JOIN burst_assignment AS assignment ON assignment.n = chance.n - 70
WHERE chance.n BETWEEN 71 AND 75 ORDER BY chance.n;

CREATE TEMPORARY TABLE burst_token ON COMMIT DROP AS
SELECT id FROM "AndroidRequests_token" ORDER BY id DESC LIMIT 5;

INSERT INTO "AndroidRequests_activetoken" ("timeStamp", token_id)
SELECT pg_temp.present() - pg_temp.draw(id, 38) * interval '10 seconds', id
FROM burst_token ORDER BY id;

INSERT INTO "AndroidRequests_poseintrajectoryoftoken" (
  longitude, latitude, "timeStamp", "inVehicleOrNot", token_id)
SELECT pg_temp.longitude(token_id, 39) + step * 0.0004, pg_temp.latitude(token_id, 40) - step * 0.0003,
  pg_temp.present() - (10 - step) * interval '2.5 seconds', 'vehicle', token_id
FROM "AndroidRequests_activetoken", generate_series(1, 10) AS step ORDER BY token_id, step;

INSERT INTO "AndroidRequests_devicepositionintime" (longitude, latitude, "timeStamp", "phoneId")
SELECT pg_temp.longitude(n, 41), pg_temp.latitude(n, 42), moment, "phoneId"
FROM burst_chance JOIN burst_phone USING (n) WHERE n <= 50 ORDER BY n;

INSERT INTO "AndroidRequests_nearbybuseslog" ("timeStamp", "phoneId", "busStop_id")
SELECT moment, "phoneId", pg_temp.pick(n, 43, 4000)
FROM burst_chance JOIN burst_phone USING (n) WHERE n > 80 ORDER BY n;

INSERT INTO "AndroidRequests_scorehistory" (
  "timeCreation", "scoreEvent_id", meta, score, "tranSappUser_id")
SELECT moment, pg_temp.pick(n, 44, 15), pg_temp.awkward(n), pg_temp.draw(n, 45) * 10,
  pg_temp.pick(n, 46, 300)
FROM burst_chance WHERE n <= 12 ORDER BY n;

-- Trips end all the time; sometimes an event was wrong, and old logs are cleared.
DELETE FROM "AndroidRequests_activetoken"
WHERE id IN (
  SELECT id FROM "AndroidRequests_activetoken"
  WHERE token_id NOT IN (SELECT id FROM burst_token) ORDER BY "timeStamp", id LIMIT 5);

CREATE TEMPORARY TABLE burst_wrong_event ON COMMIT DROP AS
SELECT id FROM "AndroidRequests_eventforbusstop"
WHERE id NOT IN (SELECT id FROM burst_stop_event) ORDER BY pg_temp.draw(id, 47), id LIMIT 1;

DELETE FROM "AndroidRequests_stadisticdatafromregistrationbusstop"
WHERE "reportOfEvent_id" IN (SELECT id FROM burst_wrong_event);

DELETE FROM "AndroidRequests_eventforbusstop" WHERE id IN (SELECT id FROM burst_wrong_event);

DELETE FROM "AndroidRequests_nearbybuseslog"
WHERE id IN (SELECT id FROM "AndroidRequests_nearbybuseslog" ORDER BY "timeStamp", id LIMIT 1);
