-- The AndroidRequests tables as the sender has them after migration 0034: 24 tables with the
-- constraint and index names that Django made, foreign keys deferrable, three sequences without owner.
-- The demo's and the tests' sender; the receiver's is this and then receiver_schema.sql.

CREATE TABLE "AndroidRequests_gtfs" (
  id serial,
  version varchar(10) NOT NULL,
  "timeCreation" timestamptz,
  CONSTRAINT "AndroidRequests_gtfs_pkey" PRIMARY KEY (id),
  CONSTRAINT "AndroidRequests_gtfs_version_key" UNIQUE (version)
);

CREATE INDEX "AndroidRequests_gtfs_version_a54650c1_like"
  ON "AndroidRequests_gtfs" (version varchar_pattern_ops);

CREATE TABLE "AndroidRequests_event" (
  id varchar(8) NOT NULL,
  name varchar(30) NOT NULL,
  description varchar(140),
  lifespam integer NOT NULL,
  category varchar(20) NOT NULL,
  origin varchar(1) NOT NULL,
  "eventType" varchar(7) NOT NULL,
  CONSTRAINT "AndroidRequests_event_pkey" PRIMARY KEY (id)
);

CREATE INDEX "AndroidRequests_event_id_3510bca0_like"
  ON "AndroidRequests_event" (id varchar_pattern_ops);

CREATE TABLE "AndroidRequests_level" (
  id serial,
  name varchar(50) NOT NULL,
  "minScore" double precision NOT NULL,
  "maxScore" double precision NOT NULL,
  "position" integer NOT NULL,
  CONSTRAINT "AndroidRequests_level_pkey" PRIMARY KEY (id),
  CONSTRAINT "AndroidRequests_level_position_key" UNIQUE ("position")
);

CREATE TABLE "AndroidRequests_scoreevent" (
  id serial,
  code varchar(10) NOT NULL,
  score double precision NOT NULL,
  CONSTRAINT "AndroidRequests_scoreevent_pkey" PRIMARY KEY (id),
  CONSTRAINT "AndroidRequests_scoreevent_code_key" UNIQUE (code)
);

CREATE INDEX "AndroidRequests_scoreevent_code_bab08a77_like"
  ON "AndroidRequests_scoreevent" (code varchar_pattern_ops);

CREATE TABLE "AndroidRequests_busv2" (
  id serial,
  "registrationPlate" varchar(8) NOT NULL,
  uuid uuid NOT NULL,
  CONSTRAINT "AndroidRequests_busv2_pkey" PRIMARY KEY (id),
  CONSTRAINT "AndroidRequests_busv2_uuid_key" UNIQUE (uuid)
);

-- Not owned by its column: pg_get_serial_sequence() returns NULL for it.
CREATE SEQUENCE "AndroidRequests_busstop_id_seq";

CREATE TABLE "AndroidRequests_busstop" (
  longitude double precision NOT NULL,
  latitude double precision NOT NULL,
  code varchar(6) NOT NULL,
  name varchar(70) NOT NULL,
  gtfs_id integer NOT NULL,
  id integer NOT NULL DEFAULT nextval('"AndroidRequests_busstop_id_seq"'),
  CONSTRAINT "AndroidRequests_busstop_id_b81de737_pk" PRIMARY KEY (id),
  CONSTRAINT "AndroidRequests_busstop_code_1798db19_uniq" UNIQUE (code, gtfs_id)
);

-- Apart, since CREATE TABLE drops a UNIQUE that repeats the primary key.
ALTER TABLE "AndroidRequests_busstop"
  ADD CONSTRAINT "AndroidRequests_busstop_id_b81de737_uniq" UNIQUE (id);

CREATE INDEX "AndroidRequests_busstop_e6a7f8d3"
  ON "AndroidRequests_busstop" (gtfs_id);

-- Not owned by its column: pg_get_serial_sequence() returns NULL for it.
CREATE SEQUENCE "AndroidRequests_service_id_seq";

CREATE TABLE "AndroidRequests_service" (
  service varchar(11) NOT NULL,
  origin varchar(100) NOT NULL,
  destiny varchar(100) NOT NULL,
  color varchar(7) NOT NULL,
  color_id integer NOT NULL,
  gtfs_id integer NOT NULL,
  id integer NOT NULL DEFAULT nextval('"AndroidRequests_service_id_seq"'),
  CONSTRAINT "AndroidRequests_service_id_e5bf00f9_pk" PRIMARY KEY (id),
  CONSTRAINT "AndroidRequests_service_service_cd42e75b_uniq" UNIQUE (service, gtfs_id)
);

-- Apart, since CREATE TABLE drops a UNIQUE that repeats the primary key.
ALTER TABLE "AndroidRequests_service"
  ADD CONSTRAINT "AndroidRequests_service_id_e5bf00f9_uniq" UNIQUE (id);

CREATE INDEX "AndroidRequests_service_e6a7f8d3"
  ON "AndroidRequests_service" (gtfs_id);

CREATE TABLE "AndroidRequests_route" (
  id serial,
  longitude double precision NOT NULL,
  latitude double precision NOT NULL,
  "serviceCode" varchar(11) NOT NULL,
  sequence integer NOT NULL,
  gtfs_id integer NOT NULL,
  CONSTRAINT "AndroidRequests_route_pkey" PRIMARY KEY (id),
  CONSTRAINT "AndroidRequests_route_serviceCode_d759092e_uniq"
    UNIQUE ("serviceCode", sequence, gtfs_id)
);

CREATE INDEX "AndroidRequests_route_e6a7f8d3"
  ON "AndroidRequests_route" (gtfs_id);
CREATE INDEX "AndroidRequests_route_fc21cbc9"
  ON "AndroidRequests_route" ("serviceCode");
CREATE INDEX "AndroidRequests_route_serviceCode_064a9c84_like"
  ON "AndroidRequests_route" ("serviceCode" varchar_pattern_ops);

CREATE TABLE "AndroidRequests_servicelocation" (
  id serial,
  longitude double precision NOT NULL,
  latitude double precision NOT NULL,
  service varchar(11) NOT NULL,
  distance integer NOT NULL,
  gtfs_id integer NOT NULL,
  CONSTRAINT "AndroidRequests_servicelocation_pkey" PRIMARY KEY (id),
  CONSTRAINT "AndroidRequests_servicelocation_service_373b263b_uniq"
    UNIQUE (service, distance, gtfs_id)
);

CREATE INDEX "AndroidRequests_servicelocation_e6a7f8d3"
  ON "AndroidRequests_servicelocation" (gtfs_id);
CREATE INDEX "AndroidRequests_servicelocation_service_65ef4728_idx"
  ON "AndroidRequests_servicelocation" (service, distance);

CREATE TABLE "AndroidRequests_transappuser" (
  id serial,
  "userId" varchar(128) NOT NULL,
  name varchar(50) NOT NULL,
  email varchar(254) NOT NULL,
  "phoneId" uuid NOT NULL,
  "accountType" varchar(10) NOT NULL,
  "globalScore" double precision NOT NULL,
  "sessionToken" uuid NOT NULL,
  level_id integer NOT NULL,
  "busAvatarId" integer NOT NULL,
  nickname varchar(20) NOT NULL,
  "photoURI" varchar(200) NOT NULL,
  "showAvatar" boolean NOT NULL,
  "userAvatarId" integer NOT NULL,
  CONSTRAINT "AndroidRequests_transappuser_pkey" PRIMARY KEY (id)
);

CREATE INDEX "AndroidRequests_transappuser_80e0bd5f"
  ON "AndroidRequests_transappuser" (level_id);

CREATE TABLE "AndroidRequests_busassignment" (
  id serial,
  service varchar(11) NOT NULL,
  uuid_id integer NOT NULL,
  CONSTRAINT "AndroidRequests_busassignment_pkey" PRIMARY KEY (id),
  CONSTRAINT "AndroidRequests_busassignment_uuid_id_937982e1_uniq" UNIQUE (uuid_id, service)
);

CREATE INDEX "AndroidRequests_busassignment_10634818"
  ON "AndroidRequests_busassignment" (uuid_id);

CREATE TABLE "AndroidRequests_servicesbybusstop" (
  id serial,
  code varchar(11) NOT NULL,
  gtfs_id integer NOT NULL,
  "busStop_id" integer NOT NULL,
  service_id integer NOT NULL,
  CONSTRAINT "AndroidRequests_servicesbybusstop_pkey" PRIMARY KEY (id),
  CONSTRAINT "AndroidRequests_servicesbybusstop_code_e1212ddd_uniq"
    UNIQUE (code, "busStop_id", gtfs_id)
);

CREATE INDEX "AndroidRequests_servicesbybusstop_80a46ab1"
  ON "AndroidRequests_servicesbybusstop" ("busStop_id");
CREATE INDEX "AndroidRequests_servicesbybusstop_b0dc1e29"
  ON "AndroidRequests_servicesbybusstop" (service_id);
CREATE INDEX "AndroidRequests_servicesbybusstop_e6a7f8d3"
  ON "AndroidRequests_servicesbybusstop" (gtfs_id);

CREATE TABLE "AndroidRequests_servicestopdistance" (
  id serial,
  service varchar(11) NOT NULL,
  distance integer NOT NULL,
  gtfs_id integer NOT NULL,
  "busStop_id" integer NOT NULL,
  CONSTRAINT "AndroidRequests_servicestopdistance_pkey" PRIMARY KEY (id),
  CONSTRAINT "AndroidRequests_servicestopdistance_busStop_id_d03f3628_uniq"
    UNIQUE ("busStop_id", service, gtfs_id)
);

CREATE INDEX "AndroidRequests_servicestopdistance_80a46ab1"
  ON "AndroidRequests_servicestopdistance" ("busStop_id");
CREATE INDEX "AndroidRequests_servicestopdistance_e6a7f8d3"
  ON "AndroidRequests_servicestopdistance" (gtfs_id);

CREATE TABLE "AndroidRequests_nearbybuseslog" (
  id serial,
  "timeStamp" timestamptz NOT NULL,
  "phoneId" uuid NOT NULL,
  "busStop_id" integer NOT NULL,
  CONSTRAINT "AndroidRequests_nearbybuseslog_pkey" PRIMARY KEY (id)
);

CREATE INDEX "AndroidRequests_nearbybuseslog_80a46ab1"
  ON "AndroidRequests_nearbybuseslog" ("busStop_id");

-- Not owned by its column: pg_get_serial_sequence() returns NULL for it.
CREATE SEQUENCE "AndroidRequests_token_id_seq";

CREATE TABLE "AndroidRequests_token" (
  token varchar(128) NOT NULL,
  direction varchar(1),
  color varchar(7) NOT NULL,
  "phoneId" uuid NOT NULL,
  busassignment_id integer NOT NULL,
  "timeCreation" timestamptz,
  id integer NOT NULL DEFAULT nextval('"AndroidRequests_token_id_seq"'),
  "userEvaluation" integer,
  "tranSappUser_id" integer,
  CONSTRAINT "AndroidRequests_token_id_1a3c8521_pk" PRIMARY KEY (id)
);

-- Apart, since CREATE TABLE drops a UNIQUE that repeats the primary key.
ALTER TABLE "AndroidRequests_token"
  ADD CONSTRAINT "AndroidRequests_token_id_1a3c8521_uniq" UNIQUE (id);

CREATE INDEX "AndroidRequests_token_395d50fd"
  ON "AndroidRequests_token" (busassignment_id);
CREATE INDEX "AndroidRequests_token_7f98ede4"
  ON "AndroidRequests_token" ("tranSappUser_id");

CREATE TABLE "AndroidRequests_scorehistory" (
  id serial,
  "timeCreation" timestamptz NOT NULL,
  "scoreEvent_id" integer NOT NULL,
  meta varchar(10000),
  score double precision NOT NULL,
  "tranSappUser_id" integer NOT NULL,
  CONSTRAINT "AndroidRequests_scorehistory_pkey" PRIMARY KEY (id)
);

CREATE INDEX "AndroidRequests_scorehistory_1063b4cd"
  ON "AndroidRequests_scorehistory" ("scoreEvent_id");
CREATE INDEX "AndroidRequests_scorehistory_7f98ede4"
  ON "AndroidRequests_scorehistory" ("tranSappUser_id");

CREATE TABLE "AndroidRequests_report" (
  id serial,
  "timeStamp" timestamptz NOT NULL,
  message text NOT NULL,
  "imageName" varchar(100),
  "reportInfo" text NOT NULL,
  "phoneId" uuid NOT NULL,
  CONSTRAINT "AndroidRequests_report_pkey" PRIMARY KEY (id)
);

CREATE INDEX "AndroidRequests_report_87a3cb5c"
  ON "AndroidRequests_report" ("timeStamp");

CREATE TABLE "AndroidRequests_devicepositionintime" (
  id serial,
  longitude double precision NOT NULL,
  latitude double precision NOT NULL,
  "timeStamp" timestamptz NOT NULL,
  "phoneId" uuid NOT NULL,
  CONSTRAINT "AndroidRequests_devicepositionintime_pkey" PRIMARY KEY (id)
);

CREATE TABLE "AndroidRequests_activetoken" (
  id serial,
  "timeStamp" timestamptz NOT NULL,
  token_id integer NOT NULL,
  CONSTRAINT "AndroidRequests_activetoken_pkey" PRIMARY KEY (id),
  CONSTRAINT "AndroidRequests_activetoken_token_id_key" UNIQUE (token_id)
);

CREATE TABLE "AndroidRequests_poseintrajectoryoftoken" (
  id serial,
  longitude double precision NOT NULL,
  latitude double precision NOT NULL,
  "timeStamp" timestamptz NOT NULL,
  "inVehicleOrNot" varchar(15) NOT NULL,
  token_id integer NOT NULL,
  CONSTRAINT "AndroidRequests_poseintrajectoryoftoken_pkey" PRIMARY KEY (id)
);

CREATE INDEX "AndroidRequests_poseintrajectoryoftoken_55d551ed"
  ON "AndroidRequests_poseintrajectoryoftoken" (token_id);
CREATE INDEX "AndroidRequests_poseintrajectoryoftoken_87a3cb5c"
  ON "AndroidRequests_poseintrajectoryoftoken" ("timeStamp");

CREATE TABLE "AndroidRequests_eventforbusv2" (
  id serial,
  "timeStamp" timestamptz NOT NULL,
  "timeCreation" timestamptz NOT NULL,
  "eventConfirm" integer NOT NULL,
  "eventDecline" integer NOT NULL,
  "phoneId" uuid NOT NULL,
  busassignment_id integer NOT NULL,
  event_id varchar(8) NOT NULL,
  "expireTime" timestamptz,
  broken boolean NOT NULL,
  "brokenType" varchar(50),
  CONSTRAINT "AndroidRequests_eventforbusv2_pkey" PRIMARY KEY (id)
);

CREATE INDEX "AndroidRequests_eventforbusv2_395d50fd"
  ON "AndroidRequests_eventforbusv2" (busassignment_id);
CREATE INDEX "AndroidRequests_eventforbusv2_4437cfac"
  ON "AndroidRequests_eventforbusv2" (event_id);
CREATE INDEX "AndroidRequests_eventforbusv2_event_id_c0bd09cb_like"
  ON "AndroidRequests_eventforbusv2" (event_id varchar_pattern_ops);

CREATE TABLE "AndroidRequests_eventforbusstop" (
  id serial,
  "timeStamp" timestamptz NOT NULL,
  "timeCreation" timestamptz NOT NULL,
  "eventConfirm" integer NOT NULL,
  "eventDecline" integer NOT NULL,
  "phoneId" uuid NOT NULL,
  "aditionalInfo" varchar(140) NOT NULL,
  event_id varchar(8) NOT NULL,
  "stopCode" varchar(6) NOT NULL,
  "expireTime" timestamptz,
  broken boolean NOT NULL,
  "brokenType" varchar(50),
  CONSTRAINT "AndroidRequests_eventforbusstop_pkey" PRIMARY KEY (id)
);

CREATE INDEX "AndroidRequests_eventforbusstop_4437cfac"
  ON "AndroidRequests_eventforbusstop" (event_id);
CREATE INDEX "AndroidRequests_eventforbusstop_992e6b5f"
  ON "AndroidRequests_eventforbusstop" ("stopCode");
CREATE INDEX "AndroidRequests_eventforbusstop_event_id_6085a562_like"
  ON "AndroidRequests_eventforbusstop" (event_id varchar_pattern_ops);
CREATE INDEX "AndroidRequests_eventforbusstop_stopCode_9ca1a789_like"
  ON "AndroidRequests_eventforbusstop" ("stopCode" varchar_pattern_ops);

CREATE TABLE "AndroidRequests_stadisticdatafromregistrationbus" (
  id serial,
  longitude double precision NOT NULL,
  latitude double precision NOT NULL,
  "timeStamp" timestamptz NOT NULL,
  "confirmDecline" varchar(10) NOT NULL,
  "phoneId" uuid NOT NULL,
  "reportOfEvent_id" integer NOT NULL,
  distance double precision,
  "gpsLatitude" double precision,
  "gpsLongitude" double precision,
  "gpsTimeStamp" timestamptz,
  "tranSappUser_id" integer,
  CONSTRAINT "AndroidRequests_stadisticdatafromregistrationbus_pkey" PRIMARY KEY (id)
);

CREATE INDEX "AndroidRequests_stadisticdatafromregistrationbus_42c4f9be"
  ON "AndroidRequests_stadisticdatafromregistrationbus" ("reportOfEvent_id");
CREATE INDEX "AndroidRequests_stadisticdatafromregistrationbus_7f98ede4"
  ON "AndroidRequests_stadisticdatafromregistrationbus" ("tranSappUser_id");

CREATE TABLE "AndroidRequests_stadisticdatafromregistrationbusstop" (
  id serial,
  longitude double precision NOT NULL,
  latitude double precision NOT NULL,
  "timeStamp" timestamptz NOT NULL,
  "confirmDecline" varchar(10) NOT NULL,
  "phoneId" uuid NOT NULL,
  "reportOfEvent_id" integer NOT NULL,
  "tranSappUser_id" integer,
  CONSTRAINT "AndroidRequests_stadisticdatafromregistrationbusstop_pkey" PRIMARY KEY (id)
);

CREATE INDEX "AndroidRequests_stadisticdatafromregistrationbusstop_7f98ede4"
  ON "AndroidRequests_stadisticdatafromregistrationbusstop" ("tranSappUser_id");
CREATE INDEX "AndroidRequests_stadisticdatafromregistrationbusstop_e298d122"
  ON "AndroidRequests_stadisticdatafromregistrationbusstop" ("reportOfEvent_id");

ALTER TABLE "AndroidRequests_busstop"
  ADD CONSTRAINT "AndroidRequests_bus_gtfs_id_a229cde3_fk_AndroidRequests_gtfs_id"
  FOREIGN KEY (gtfs_id)
  REFERENCES "AndroidRequests_gtfs" (id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE "AndroidRequests_service"
  ADD CONSTRAINT "AndroidRequests_ser_gtfs_id_f02bd52a_fk_AndroidRequests_gtfs_id"
  FOREIGN KEY (gtfs_id)
  REFERENCES "AndroidRequests_gtfs" (id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE "AndroidRequests_route"
  ADD CONSTRAINT "AndroidRequests_rou_gtfs_id_c4545bed_fk_AndroidRequests_gtfs_id"
  FOREIGN KEY (gtfs_id)
  REFERENCES "AndroidRequests_gtfs" (id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE "AndroidRequests_servicelocation"
  ADD CONSTRAINT "AndroidRequests_ser_gtfs_id_539bd6cc_fk_AndroidRequests_gtfs_id"
  FOREIGN KEY (gtfs_id)
  REFERENCES "AndroidRequests_gtfs" (id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE "AndroidRequests_transappuser"
  ADD CONSTRAINT "AndroidRequests_t_level_id_b916fc19_fk_AndroidRequests_level_id"
  FOREIGN KEY (level_id)
  REFERENCES "AndroidRequests_level" (id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE "AndroidRequests_busassignment"
  ADD CONSTRAINT "AndroidRequests_bu_uuid_id_6b982021_fk_AndroidRequests_busv2_id"
  FOREIGN KEY (uuid_id)
  REFERENCES "AndroidRequests_busv2" (id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE "AndroidRequests_servicesbybusstop"
  ADD CONSTRAINT "AndroidReques_busStop_id_b47237cb_fk_AndroidRequests_busstop_id"
  FOREIGN KEY ("busStop_id")
  REFERENCES "AndroidRequests_busstop" (id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE "AndroidRequests_servicesbybusstop"
  ADD CONSTRAINT "AndroidRequests_ser_gtfs_id_46b89236_fk_AndroidRequests_gtfs_id"
  FOREIGN KEY (gtfs_id)
  REFERENCES "AndroidRequests_gtfs" (id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE "AndroidRequests_servicesbybusstop"
  ADD CONSTRAINT "AndroidReques_service_id_0bd9dfa4_fk_AndroidRequests_service_id"
  FOREIGN KEY (service_id)
  REFERENCES "AndroidRequests_service" (id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE "AndroidRequests_servicestopdistance"
  ADD CONSTRAINT "AndroidReques_busStop_id_a01c354a_fk_AndroidRequests_busstop_id"
  FOREIGN KEY ("busStop_id")
  REFERENCES "AndroidRequests_busstop" (id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE "AndroidRequests_servicestopdistance"
  ADD CONSTRAINT "AndroidRequests_ser_gtfs_id_3b0626b8_fk_AndroidRequests_gtfs_id"
  FOREIGN KEY (gtfs_id)
  REFERENCES "AndroidRequests_gtfs" (id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE "AndroidRequests_nearbybuseslog"
  ADD CONSTRAINT "AndroidReques_busStop_id_74a79903_fk_AndroidRequests_busstop_id"
  FOREIGN KEY ("busStop_id")
  REFERENCES "AndroidRequests_busstop" (id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE "AndroidRequests_token"
  ADD CONSTRAINT "And_tranSappUser_id_89b70d76_fk_AndroidRequests_transappuser_id"
  FOREIGN KEY ("tranSappUser_id")
  REFERENCES "AndroidRequests_transappuser" (id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE "AndroidRequests_token"
  ADD CONSTRAINT "A_busassignment_id_aadec73b_fk_AndroidRequests_busassignment_id"
  FOREIGN KEY (busassignment_id)
  REFERENCES "AndroidRequests_busassignment" (id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE "AndroidRequests_scorehistory"
  ADD CONSTRAINT "Android_scoreEvent_id_b8cfc4fa_fk_AndroidRequests_scoreevent_id"
  FOREIGN KEY ("scoreEvent_id")
  REFERENCES "AndroidRequests_scoreevent" (id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE "AndroidRequests_scorehistory"
  ADD CONSTRAINT "And_tranSappUser_id_daee3156_fk_AndroidRequests_transappuser_id"
  FOREIGN KEY ("tranSappUser_id")
  REFERENCES "AndroidRequests_transappuser" (id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE "AndroidRequests_activetoken"
  ADD CONSTRAINT "AndroidRequests_a_token_id_e9010785_fk_AndroidRequests_token_id"
  FOREIGN KEY (token_id)
  REFERENCES "AndroidRequests_token" (id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE "AndroidRequests_poseintrajectoryoftoken"
  ADD CONSTRAINT "AndroidRequests_p_token_id_b8b031dc_fk_AndroidRequests_token_id"
  FOREIGN KEY (token_id)
  REFERENCES "AndroidRequests_token" (id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE "AndroidRequests_eventforbusv2"
  ADD CONSTRAINT "A_busassignment_id_99474eca_fk_AndroidRequests_busassignment_id"
  FOREIGN KEY (busassignment_id)
  REFERENCES "AndroidRequests_busassignment" (id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE "AndroidRequests_eventforbusv2"
  ADD CONSTRAINT "AndroidRequests_e_event_id_c0bd09cb_fk_AndroidRequests_event_id"
  FOREIGN KEY (event_id)
  REFERENCES "AndroidRequests_event" (id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE "AndroidRequests_eventforbusstop"
  ADD CONSTRAINT "AndroidRequests_e_event_id_6085a562_fk_AndroidRequests_event_id"
  FOREIGN KEY (event_id)
  REFERENCES "AndroidRequests_event" (id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE "AndroidRequests_stadisticdatafromregistrationbus"
  ADD CONSTRAINT "A_reportOfEvent_id_cbf4ba8c_fk_AndroidRequests_eventforbusv2_id"
  FOREIGN KEY ("reportOfEvent_id")
  REFERENCES "AndroidRequests_eventforbusv2" (id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE "AndroidRequests_stadisticdatafromregistrationbus"
  ADD CONSTRAINT "And_tranSappUser_id_25878363_fk_AndroidRequests_transappuser_id"
  FOREIGN KEY ("tranSappUser_id")
  REFERENCES "AndroidRequests_transappuser" (id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE "AndroidRequests_stadisticdatafromregistrationbusstop"
  ADD CONSTRAINT "D191837b9f9795e07545901fcaaed88c"
  FOREIGN KEY ("reportOfEvent_id")
  REFERENCES "AndroidRequests_eventforbusstop" (id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE "AndroidRequests_stadisticdatafromregistrationbusstop"
  ADD CONSTRAINT "And_tranSappUser_id_bed80f59_fk_AndroidRequests_transappuser_id"
  FOREIGN KEY ("tranSappUser_id")
  REFERENCES "AndroidRequests_transappuser" (id) DEFERRABLE INITIALLY DEFERRED;

-- Django's own record of what was migrated; the archive tells it to the receiver.
CREATE TABLE django_migrations (
  id serial PRIMARY KEY,
  app varchar(255) NOT NULL,
  name varchar(255) NOT NULL,
  applied timestamptz NOT NULL
);

INSERT INTO django_migrations (app, name, applied)
SELECT 'AndroidRequests', name,
  timestamptz '2017-03-01 12:00:00+00' + position * interval '1 minute'
FROM unnest(ARRAY[
  '0001_initial',
  '0002_auto_20150714_1502',
  '0003_servicelocation',
  '0004_event_lifespam',
  '0005_token_and_activetoken',
  '0006_busstop_code',
  '0007_route_sequence',
  '0008_eventforbusstop',
  '0009_eventforbus',
  '0010_stadisticdata',
  '0011_nearbybuseslog',
  '0012_servicestopdistance',
  '0013_report',
  '0014_report_image',
  '0015_busv2',
  '0016_busassignment',
  '0017_eventforbusv2',
  '0018_devicepositionintime_phoneid',
  '0019_gtfs',
  '0020_gtfs_version_and_automatic_keys',
  '0021_poseintrajectoryoftoken_token',
  '0022_servicesbybusstop',
  '0023_broken_events',
  '0024_report_info',
  '0025_token_userevaluation',
  '0026_eventforbusstop_stopcode',
  '0027_remove_eventforbusstop_busstop',
  '0028_expiretime',
  '0029_level_and_scoreevent',
  '0030_transappuser',
  '0031_scorehistory',
  '0032_transappuser_avatar',
  '0033_stadisticdata_gps',
  '0034_token_transappuser'
]) WITH ORDINALITY AS migration (name, position);
