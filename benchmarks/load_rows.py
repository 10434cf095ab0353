"""The AndroidRequests tables at size, and what happens to them in a day: SQL, set-based.

10.6 million rows at scale 1, in the proportions of a production server: six million poses,
a million bus statistics, a million positions, 300,000 bus events, 200,000 stop events, 100,000
reports, and the tables that these refer to.
"""

from __future__ import annotations

import psycopg

from ar_sync_pipeline.demo.schema import create_receiver_schema, create_sender_schema

CHANGES = ("recent", "spread")

_SIZES = {
    "poses": 6_000_000,
    "bus_statistics": 1_000_000,
    "positions": 1_000_000,
    "stop_statistics": 500_000,
    "nearby": 500_000,
    "bus_events": 300_000,
    "locations": 300_000,
    "stop_events": 200_000,
    "tokens": 200_000,
    "routes": 200_000,
    "scores": 200_000,
    "reports": 100_000,
    "calls": 50_000,
    "users": 50_000,
    "assignments": 30_000,
    "buses": 16_000,
    "stops": 12_000,
}

_POSE = """
  -70.85 + random() * 0.4, -33.65 + random() * 0.35, '2026-10-01Z'::timestamptz + i * interval '1 s'
"""
_ROWS = f"""
SELECT setseed(0.42);
INSERT INTO "AndroidRequests_gtfs" VALUES (1, 'v1', '2026-01-01Z');
INSERT INTO "AndroidRequests_event" SELECT 'evn' || lpad(i::text, 5, '0'), 'event ' || i, NULL, 30,
  'bus', 'o', 'bus' FROM generate_series(0, 19) i;
INSERT INTO "AndroidRequests_level" SELECT i, 'level ' || i, i * 100, i * 100 + 99, i
  FROM generate_series(1, 5) i;
INSERT INTO "AndroidRequests_scoreevent" SELECT i, 'S' || i, i FROM generate_series(1, 10) i;
INSERT INTO "AndroidRequests_busv2" SELECT i, 'bc' || lpad(i::text, 5, '0'), gen_random_uuid()
  FROM generate_series(1, %(buses)s) i;
INSERT INTO "AndroidRequests_busassignment" SELECT i, 'S' || i / 1000, 1 + i %% %(buses)s
  FROM generate_series(1, %(assignments)s) i;
INSERT INTO "AndroidRequests_busstop"
  SELECT -70.85 + random() * 0.4, -33.65 + random() * 0.35, 'P' || i, 'Avenida ' || i, 1, i
  FROM generate_series(1, %(stops)s) i;
INSERT INTO "AndroidRequests_service" SELECT 'S' || i, 'Terminal', 'Plaza', '#ffffff', 1, 1, i
  FROM generate_series(1, 400) i;
INSERT INTO "AndroidRequests_route" SELECT i, -70.6 - random() / 5, -33.4 - random() / 5,
  'S' || i / 500, i %% 500, 1 FROM generate_series(1, %(routes)s) i;
INSERT INTO "AndroidRequests_servicelocation" SELECT i, -70.6 - random() / 5, -33.4 - random() / 5,
  'S' || i / 800, i %% 800, 1 FROM generate_series(1, %(locations)s) i;
INSERT INTO "AndroidRequests_servicesbybusstop" SELECT i, 'S' || i / %(stops)s, 1,
  1 + i %% %(stops)s, 1 + i %% 400 FROM generate_series(1, %(calls)s) i;
INSERT INTO "AndroidRequests_servicestopdistance" SELECT i, 'S' || i / %(stops)s, i, 1,
  1 + i %% %(stops)s FROM generate_series(1, %(calls)s) i;
INSERT INTO "AndroidRequests_transappuser" SELECT i, 'user' || i, 'Persona ' || i,
  'persona' || i || '@example.cl', gen_random_uuid(), 'GOOGLE', random() * 1000,
  gen_random_uuid(), 1 + i %% 5, 1, 'apodo' || i, 'https://example.cl/' || i, true, 1
  FROM generate_series(1, %(users)s) i;
INSERT INTO "AndroidRequests_token" SELECT repeat(md5(i::text), 4), 'I', '#00a0f0',
  gen_random_uuid(), 1 + i %% %(assignments)s, '2026-10-01Z'::timestamptz + i * interval '30 s',
  i, NULL, 1 + i %% %(users)s FROM generate_series(1, %(tokens)s) i;
INSERT INTO "AndroidRequests_activetoken" SELECT i, now(), i FROM generate_series(1, 500) i;
INSERT INTO "AndroidRequests_nearbybuseslog" SELECT i, '2026-10-01Z'::timestamptz
  + i * interval '10 s', gen_random_uuid(), 1 + i %% %(stops)s
  FROM generate_series(1, %(nearby)s) i;
INSERT INTO "AndroidRequests_scorehistory" SELECT i, '2026-10-01Z'::timestamptz
  + i * interval '30 s', 1 + i %% 10, '{{"token": "' || md5(i::text) || '"}}', random() * 10,
  1 + i %% %(users)s FROM generate_series(1, %(scores)s) i;
INSERT INTO "AndroidRequests_report" SELECT i, '2026-10-01Z'::timestamptz + i * interval '60 s',
  'Reporte ' || i, NULL, json_build_object('locationUser', json_build_object('latitude',
  -33.65 + random() * 0.35, 'longitude', -70.85 + random() * 0.4), 'bus', md5(i::text))::text,
  gen_random_uuid() FROM generate_series(1, %(reports)s) i;
INSERT INTO "AndroidRequests_devicepositionintime" SELECT i, {_POSE}, gen_random_uuid()
  FROM generate_series(1, %(positions)s) i;
INSERT INTO "AndroidRequests_poseintrajectoryoftoken" SELECT i, {_POSE}, 'vehicle',
  1 + i / 30 %% %(tokens)s FROM generate_series(1, %(poses)s) i;
INSERT INTO "AndroidRequests_eventforbusv2" SELECT i, moment, moment, 1, 0, gen_random_uuid(),
  1 + i %% %(assignments)s, 'evn' || lpad((i %% 20)::text, 5, '0'), moment + interval '1 h', false,
  NULL FROM generate_series(1, %(bus_events)s) i,
  LATERAL (SELECT '2026-10-01Z'::timestamptz + i * interval '20 s' AS moment) AS at;
INSERT INTO "AndroidRequests_eventforbusstop" SELECT i, moment, moment, 1, 0, gen_random_uuid(),
  'Sin luz', 'evn' || lpad((i %% 20)::text, 5, '0'), 'P' || i %% %(stops)s,
  moment + interval '1 h', false, NULL FROM generate_series(1, %(stop_events)s) i,
  LATERAL (SELECT '2026-10-01Z'::timestamptz + i * interval '30 s' AS moment) AS at;
INSERT INTO "AndroidRequests_stadisticdatafromregistrationbus" SELECT i, {_POSE}, 'confirm',
  gen_random_uuid(), 1 + i * 3 / 10 %% %(bus_events)s, random() * 500, -33.4, -70.6,
  '2026-10-01Z'::timestamptz + i * interval '1 s', NULL
  FROM generate_series(1, %(bus_statistics)s) i;
INSERT INTO "AndroidRequests_stadisticdatafromregistrationbusstop" SELECT i, {_POSE}, 'confirm',
  gen_random_uuid(), 1 + i * 2 / 5 %% %(stop_events)s, NULL
  FROM generate_series(1, %(stop_statistics)s) i;
"""  # noqa: S608  constants only

# What the receiver writes: receiver-only columns and tables, and license plates in its spelling.
_TRANSFORM = """
UPDATE "AndroidRequests_eventforbusv2" SET transformed = true, direction = 'I', "busStop1" = 'P1';
UPDATE "AndroidRequests_eventforbusstop" SET transformed = true;
UPDATE "AndroidRequests_report" SET transformed = true;
UPDATE "AndroidRequests_busstop" SET transformed = true, point = '\\x01';
UPDATE "AndroidRequests_busv2" SET transformed = true,
  "registrationPlate" = upper("registrationPlate");
INSERT INTO "AndroidRequests_reportinfo" ("reportType", "registrationPlate", longitude, latitude,
  report_id) SELECT 'bus', 'BC', -70.6, -33.4, id FROM "AndroidRequests_report";
"""

# About 1 % of all rows: what came in, what was confirmed lately, the oldest logs cleared.
_RECENT = f"""
SELECT setseed(0.43);
DELETE FROM "AndroidRequests_poseintrajectoryoftoken" WHERE id <= %(poses)s / 500;
DELETE FROM "AndroidRequests_devicepositionintime" WHERE id <= %(positions)s / 500;
DELETE FROM "AndroidRequests_nearbybuseslog" WHERE id <= %(nearby)s / 500;
CREATE TEMP TABLE error ON COMMIT DROP AS SELECT id FROM "AndroidRequests_eventforbusv2"
  WHERE id > %(bus_events)s * 0.98 AND id %% 20 = 7;
DELETE FROM "AndroidRequests_stadisticdatafromregistrationbus" WHERE "reportOfEvent_id"
  IN (SELECT id FROM error);
DELETE FROM "AndroidRequests_eventforbusv2" WHERE id IN (SELECT id FROM error);
UPDATE "AndroidRequests_eventforbusv2" SET "timeStamp" = now(), "eventConfirm" = "eventConfirm" + 1
  WHERE id > %(bus_events)s * 0.98 AND id %% 5 = 0;
UPDATE "AndroidRequests_eventforbusstop" SET "timeStamp" = now(), "eventDecline" = 7
  WHERE id > %(stop_events)s * 0.98 AND id %% 5 = 0;
UPDATE "AndroidRequests_token" SET "userEvaluation" = 4
  WHERE id > %(tokens)s * 0.98 AND id %% 5 = 0;
UPDATE "AndroidRequests_busv2" SET "registrationPlate" = 'zz00001' WHERE id = 7;
INSERT INTO "AndroidRequests_token" SELECT repeat(md5(i::text), 4), 'R', '#00a0f0',
  gen_random_uuid(), 1 + i %% %(assignments)s, now(), i, NULL, NULL
  FROM generate_series(%(tokens)s + 1, %(tokens)s + %(tokens)s / 125) i;
INSERT INTO "AndroidRequests_poseintrajectoryoftoken" SELECT i, {_POSE}, 'vehicle',
  %(tokens)s + 1 + i %% (%(tokens)s / 125)
  FROM generate_series(%(poses)s + 1, %(poses)s + %(poses)s / 125) i;
INSERT INTO "AndroidRequests_devicepositionintime" SELECT i, {_POSE}, gen_random_uuid()
  FROM generate_series(%(positions)s + 1, %(positions)s + %(positions)s / 125) i;
INSERT INTO "AndroidRequests_nearbybuseslog" SELECT i, now(), gen_random_uuid(), 1 + i %% 1000
  FROM generate_series(%(nearby)s + 1, %(nearby)s + %(nearby)s / 125) i;
INSERT INTO "AndroidRequests_eventforbusv2" SELECT i, now(), now(), 1, 0, gen_random_uuid(),
  1 + i %% %(assignments)s, 'evn00001', NULL, false, NULL
  FROM generate_series(%(bus_events)s + 1, %(bus_events)s + %(bus_events)s / 200) i;
INSERT INTO "AndroidRequests_eventforbusstop" SELECT i, now(), now(), 1, 0, gen_random_uuid(),
  '', 'evn00001', 'P1', NULL, false, NULL
  FROM generate_series(%(stop_events)s + 1, %(stop_events)s + %(stop_events)s / 200) i;
INSERT INTO "AndroidRequests_stadisticdatafromregistrationbus" SELECT i, {_POSE}, 'confirm',
  gen_random_uuid(), %(bus_events)s + 1 + i %% (%(bus_events)s / 200), 12.5, NULL, NULL, NULL, NULL
  FROM generate_series(%(bus_statistics)s + 1, %(bus_statistics)s + %(bus_statistics)s / 100) i;
INSERT INTO "AndroidRequests_stadisticdatafromregistrationbusstop" SELECT i, {_POSE}, 'decline',
  gen_random_uuid(), %(stop_events)s + 1 + i %% (%(stop_events)s / 200), NULL
  FROM generate_series(%(stop_statistics)s + 1, %(stop_statistics)s + %(stop_statistics)s / 100) i;
INSERT INTO "AndroidRequests_report" SELECT i, now(), 'nuevo', NULL, '{{}}', gen_random_uuid()
  FROM generate_series(%(reports)s + 1, %(reports)s + %(reports)s / 100) i;
"""  # noqa: S608  constants only

# Also 1 %, the hard case: a row here and there, so that hardly any chunk stays as it was.
_SPREAD = """
UPDATE "AndroidRequests_poseintrajectoryoftoken" SET longitude = longitude + 1e-6
  WHERE id %% 100 = 37;
UPDATE "AndroidRequests_devicepositionintime" SET longitude = longitude + 1e-6 WHERE id %% 100 = 37;
UPDATE "AndroidRequests_stadisticdatafromregistrationbus" SET distance = distance + 1
  WHERE id %% 100 = 37;
DELETE FROM "AndroidRequests_stadisticdatafromregistrationbusstop" WHERE id %% 100 = 37;
UPDATE "AndroidRequests_eventforbusv2" SET "eventConfirm" = 9 WHERE id %% 100 = 37;
UPDATE "AndroidRequests_eventforbusstop" SET "eventConfirm" = 9 WHERE id %% 100 = 37;
UPDATE "AndroidRequests_report" SET message = message || '.' WHERE id %% 100 = 37;
UPDATE "AndroidRequests_token" SET "userEvaluation" = 4 WHERE id %% 100 = 37;
"""


def fill_sender(url: str, scale: float) -> None:
    """Make the sender's tables and rows in an empty database."""
    with psycopg.connect(url) as connection:
        create_sender_schema(connection)
        psycopg.ClientCursor(connection).execute(_ROWS, sizes(scale))
    vacuum(url)


def make_receiver(url: str) -> None:
    """Make the receiver's tables, without rows, in an empty database."""
    with psycopg.connect(url) as connection:
        create_receiver_schema(connection)


def transform(url: str) -> None:
    """Give the receiver's receiver-only columns and tables their values, as its transform would."""
    with psycopg.connect(url) as connection:
        connection.execute(_TRANSFORM.encode())
    vacuum(url)


def change_sender(url: str, scale: float, changes: str) -> None:
    """Change about 1 % of the rows: the ``recent`` ones, or ``spread`` over the tables."""
    statements = {"recent": _RECENT, "spread": _SPREAD}[changes]
    with psycopg.connect(url) as connection:
        psycopg.ClientCursor(connection).execute(statements.encode(), sizes(scale))
    vacuum(url)


def sizes(scale: float) -> dict[str, int]:
    """Rows of the tables at a scale."""
    return {name: max(1000, round(rows * scale)) for name, rows in _SIZES.items()}


def vacuum(url: str) -> None:
    """Vacuum and analyze a database, as the server itself does sooner or later."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE)")
