-- What migrations 0900 to 0920 add on the receiver; run sender_schema.sql first.
--
-- Here the two geometry columns are bytea and hold WKB, since an embedded server has no PostGIS:
-- busstop.point (with PostGIS: geometry(Point,32140), holding plain degrees) and
-- zonificationtransantiago.geom (with PostGIS: geometry(MultiPolygon,4326)).

CREATE TABLE "AndroidRequests_timeperiod" (
  id serial,
  day_type varchar(8) NOT NULL,
  name varchar(30) NOT NULL,
  initial_time time NOT NULL,
  end_time time NOT NULL,
  CONSTRAINT "AndroidRequests_timeperiod_pkey" PRIMARY KEY (id)
);

CREATE TABLE "AndroidRequests_halfhourperiod" (
  id serial,
  name varchar(30) NOT NULL,
  initial_time time NOT NULL,
  end_time time NOT NULL,
  CONSTRAINT "AndroidRequests_halfhourperiod_pkey" PRIMARY KEY (id)
);

CREATE TABLE "AndroidRequests_zonificationtransantiago" (
  id integer NOT NULL,
  area double precision NOT NULL,
  zona double precision NOT NULL,
  com varchar(80) NOT NULL,
  comuna varchar(80) NOT NULL,
  cartodb_id integer NOT NULL,
  created_at date NOT NULL,
  updated_at date NOT NULL,
  comunidad_field double precision,
  geom bytea NOT NULL,
  CONSTRAINT "AndroidRequests_zonificationtransantiago_pkey" PRIMARY KEY (id)
);

CREATE TABLE "AndroidRequests_reportinfo" (
  id serial,
  "reportType" varchar(7) NOT NULL,
  "busUUID" uuid,
  service varchar(11),
  "registrationPlate" varchar(8) NOT NULL,
  "stopCode" varchar(6),
  longitude double precision NOT NULL,
  latitude double precision NOT NULL,
  report_id integer NOT NULL,
  zonification_id integer,
  transformed boolean,
  direction varchar(1),
  "userLatitude" double precision,
  "userLongitude" double precision,
  CONSTRAINT "AndroidRequests_reportinfo_pkey" PRIMARY KEY (id),
  CONSTRAINT "AndroidRequests_reportinfo_report_id_fk"
    FOREIGN KEY (report_id)
    REFERENCES "AndroidRequests_report" (id) DEFERRABLE INITIALLY DEFERRED,
  CONSTRAINT "AndroidRequests_reportinfo_zonification_id_fk"
    FOREIGN KEY (zonification_id)
    REFERENCES "AndroidRequests_zonificationtransantiago" (id) DEFERRABLE INITIALLY DEFERRED
);

CREATE INDEX "AndroidRequests_reportinfo_report_id"
  ON "AndroidRequests_reportinfo" (report_id);
CREATE INDEX "AndroidRequests_reportinfo_zonification_id"
  ON "AndroidRequests_reportinfo" (zonification_id);

ALTER TABLE "AndroidRequests_busstop"
  ADD COLUMN point bytea,
  ADD COLUMN transformed boolean;

ALTER TABLE "AndroidRequests_busv2"
  ADD COLUMN transformed boolean;

ALTER TABLE "AndroidRequests_report"
  ADD COLUMN transformed boolean;

ALTER TABLE "AndroidRequests_eventforbusstop"
  ADD COLUMN "timePeriod_id" integer,
  ADD COLUMN fixed boolean,
  ADD COLUMN "halfHourPeriod_id" integer,
  ADD COLUMN zonification_id integer,
  ADD COLUMN transformed boolean,
  ADD CONSTRAINT "AndroidRequests_eventforbusstop_timePeriod_id_fk"
    FOREIGN KEY ("timePeriod_id")
    REFERENCES "AndroidRequests_timeperiod" (id) DEFERRABLE INITIALLY DEFERRED,
  ADD CONSTRAINT "AndroidRequests_eventforbusstop_halfHourPeriod_id_fk"
    FOREIGN KEY ("halfHourPeriod_id")
    REFERENCES "AndroidRequests_halfhourperiod" (id) DEFERRABLE INITIALLY DEFERRED,
  ADD CONSTRAINT "AndroidRequests_eventforbusstop_zonification_id_fk"
    FOREIGN KEY (zonification_id)
    REFERENCES "AndroidRequests_zonificationtransantiago" (id) DEFERRABLE INITIALLY DEFERRED;

CREATE INDEX "AndroidRequests_eventforbusstop_timePeriod_id"
  ON "AndroidRequests_eventforbusstop" ("timePeriod_id");
CREATE INDEX "AndroidRequests_eventforbusstop_halfHourPeriod_id"
  ON "AndroidRequests_eventforbusstop" ("halfHourPeriod_id");
CREATE INDEX "AndroidRequests_eventforbusstop_zonification_id"
  ON "AndroidRequests_eventforbusstop" (zonification_id);

ALTER TABLE "AndroidRequests_eventforbusv2"
  ADD COLUMN "timePeriod_id" integer,
  ADD COLUMN fixed boolean,
  ADD COLUMN "halfHourPeriod_id" integer,
  ADD COLUMN zonification_id integer,
  ADD COLUMN "busStop1" varchar(6),
  ADD COLUMN "busStop2" varchar(6),
  ADD COLUMN transformed boolean,
  ADD COLUMN direction varchar(1),
  ADD CONSTRAINT "AndroidRequests_eventforbusv2_timePeriod_id_fk"
    FOREIGN KEY ("timePeriod_id")
    REFERENCES "AndroidRequests_timeperiod" (id) DEFERRABLE INITIALLY DEFERRED,
  ADD CONSTRAINT "AndroidRequests_eventforbusv2_halfHourPeriod_id_fk"
    FOREIGN KEY ("halfHourPeriod_id")
    REFERENCES "AndroidRequests_halfhourperiod" (id) DEFERRABLE INITIALLY DEFERRED,
  ADD CONSTRAINT "AndroidRequests_eventforbusv2_zonification_id_fk"
    FOREIGN KEY (zonification_id)
    REFERENCES "AndroidRequests_zonificationtransantiago" (id) DEFERRABLE INITIALLY DEFERRED;

CREATE INDEX "AndroidRequests_eventforbusv2_timePeriod_id"
  ON "AndroidRequests_eventforbusv2" ("timePeriod_id");
CREATE INDEX "AndroidRequests_eventforbusv2_halfHourPeriod_id"
  ON "AndroidRequests_eventforbusv2" ("halfHourPeriod_id");
CREATE INDEX "AndroidRequests_eventforbusv2_zonification_id"
  ON "AndroidRequests_eventforbusv2" (zonification_id);

INSERT INTO django_migrations (app, name, applied)
SELECT 'AndroidRequests', name,
  timestamptz '2017-06-01 12:00:00+00' + position * interval '1 minute'
FROM unnest(ARRAY[
  '0900_timeperiod',
  '0901_event_timeperiod_fixed',
  '0902_format_plates',
  '0903_halfhourperiod',
  '0904_event_halfhourperiod',
  '0905_reportinfo',
  '0906_fill_reportinfo',
  '0907_postgis',
  '0908_zonification',
  '0909_event_zonification',
  '0910_event_nearest_stops',
  '0911_busstop_point',
  '0912_nullable_derived_columns',
  '0913_column_lengths',
  '0914_transformed',
  '0915_direction',
  '0916_mark_transformed',
  '0917_merge',
  '0918_reportinfo_user_position',
  '0919_models_only',
  '0920_fill_expiretime'
]) WITH ORDINALITY AS migration (name, position);
