"""Schemas of other people's applications, with values that move as those applications move them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ar_sync_pipeline_tests.situations.fix_situations import RunSituation
from ar_sync_pipeline_tests.situations.situation import (
    EVERY_MODE,
    Mode,
    Situation,
    ask,
    cases,
    complete,
    partial,
)

FOLDER = Path(__file__).parent
TWO = (Mode.SUPERUSER, Mode.LEAST)


def schema(name: str) -> str:
    return (FOLDER / f"{name}.sql").read_text()


MEDUSA_ROWS = """
INSERT INTO customer (id, email, has_account)
  SELECT 'cus_' || n, 'c' || n / 2 || '@x', n % 2 = 0 FROM generate_series(1, 200) n;
INSERT INTO customer_address (id, customer_id, is_default_shipping, is_default_billing, city)
  SELECT 'addr_' || n, 'cus_' || 1 + n % 200, n <= 200, n > 200, 'town ' || n % 7
    FROM generate_series(1, 400) n;
INSERT INTO customer_group (id, name, deleted_at)
  SELECT 'grp_' || n, 'group ' || n % 10, CASE WHEN n > 10 THEN now() END
    FROM generate_series(1, 30) n;
INSERT INTO customer_group_customer (id, customer_id, customer_group_id)
  SELECT 'cgc_' || n, 'cus_' || n, 'grp_' || 1 + n % 30 FROM generate_series(1, 200) n;
INSERT INTO region (id, name, currency_code) SELECT 'reg_' || n, 'r' || n, 'eur'
  FROM generate_series(1, 5) n;
INSERT INTO region_country (iso_2, iso_3, num_code, name, display_name, region_id)
  SELECT 'c' || n, 'cc' || n, n, 'n' || n, 'N' || n, 'reg_' || 1 + n % 5
    FROM generate_series(1, 40) n;
INSERT INTO order_address (id, city) SELECT 'oa_' || n, 'town' FROM generate_series(1, 300) n;
INSERT INTO "order" (id, currency_code, custom_display_id, shipping_address_id,
                     billing_address_id)
  SELECT 'order_' || n, 'eur', 'no ' || n, 'oa_' || n, 'oa_' || 301 - n
    FROM generate_series(1, 300) n;
INSERT INTO order_line_item (id, title, unit_price, raw_unit_price)
  SELECT 'li_' || n, 't' || n, n / 4.0, jsonb_build_object('value', (n / 4.0)::text)
    FROM generate_series(1, 600) n;
INSERT INTO order_item (id, order_id, version, item_id, quantity, raw_quantity,
    fulfilled_quantity, shipped_quantity, return_requested_quantity, return_received_quantity,
    return_dismissed_quantity, written_off_quantity)
  SELECT 'oi_' || n, 'order_' || 1 + n % 300, 1, 'li_' || n, 1.00, '{"value": "1"}',
    0, 0, 0, 0, 0, 0 FROM generate_series(1, 600) n;
UPDATE order_line_item SET totals_id = 'oi_' || substr(id, 4);
INSERT INTO return_reason (id, value, label, parent_return_reason_id)
  SELECT 'rr_' || n, 'v' || n, 'l', CASE WHEN n > 1 THEN 'rr_' || n / 2 END
    FROM generate_series(1, 20) n;
"""
MEDUSA = Situation(
    "medusa_references_that_act_at_once",
    schema("medusa"),
    rows=MEDUSA_ROWS,
    receiver="ALTER TABLE customer ADD score int; CREATE TABLE own_rating (id serial PRIMARY KEY,"
    ' order_id text REFERENCES "order" ON UPDATE CASCADE ON DELETE CASCADE, stars int);'
    "CREATE TABLE own_visit (id serial PRIMARY KEY, customer_id text NOT NULL REFERENCES customer"
    " ON DELETE CASCADE)",
    own="UPDATE customer SET score = length(id); INSERT INTO own_rating (order_id, stars)"
    ' SELECT id, 5 FROM "order"; INSERT INTO own_visit (customer_id) SELECT id FROM customer',
    steps=(
        partial(
            # The default moves to the other address; e-mails and numbers go round.
            "UPDATE customer_address SET is_default_shipping = false;"
            "UPDATE customer_address SET is_default_shipping = substr(id, 6)::int > 200,"
            " is_default_billing = false; UPDATE customer_address SET is_default_billing ="
            " NOT is_default_shipping;"
            "UPDATE customer SET email = 'x' || email; UPDATE customer SET email = 'c' ||"
            " (substr(id, 5)::int / 2 + 7) % 101 || '@x';"
            "UPDATE \"order\" SET custom_display_id = 'x' || custom_display_id;"
            "UPDATE \"order\" SET custom_display_id = 'no ' || 301 - substr(id, 7)::int;"
            "UPDATE customer_group SET deleted_at = now() WHERE deleted_at IS NULL;"
            "UPDATE customer_group SET deleted_at = NULL WHERE substr(id, 5)::int > 20;"
            "INSERT INTO return_reason (id, value, label) VALUES ('rr_root', 'v', 'l');"
            "UPDATE return_reason SET parent_return_reason_id = 'rr_root' WHERE id = 'rr_1'",
            finds=[
                ask("SELECT count(*) FROM customer WHERE score = length(id)", (200,)),
                ask("SELECT count(*) FROM own_rating", (300,)),
                ask("SELECT count(*) FROM own_visit", (200,)),
            ],
        ),
        partial(
            # A line that is its item's totals is moved to another order with it.
            "UPDATE order_item SET order_id = 'order_1' WHERE order_id = 'order_300';"
            "UPDATE order_line_item SET totals_id = NULL WHERE id = 'li_5';"
            "INSERT INTO \"order\" (id, currency_code) VALUES ('order_new', 'clp');"
            "INSERT INTO order_line_item (id, title, unit_price, raw_unit_price)"
            " VALUES ('li_new', 't', 1.50, '{}');"
            "UPDATE order_item SET item_id = 'li_new', order_id = 'order_new' WHERE id = 'oi_5';"
            "UPDATE order_line_item SET totals_id = 'oi_5' WHERE id = 'li_new'",
        ),
        complete(
            "DELETE FROM \"order\" WHERE id IN ('order_2', 'order_300');"
            "DELETE FROM region WHERE id = 'reg_1'; DELETE FROM order_address WHERE id = 'oa_9';"
            "UPDATE customer_group_customer SET customer_group_id = 'grp_1'"
            " WHERE customer_group_id = 'grp_2'; DELETE FROM customer_group WHERE id = 'grp_2';"
            "UPDATE return_reason SET parent_return_reason_id = NULL WHERE id = 'rr_1';"
            "DELETE FROM return_reason WHERE id = 'rr_root'",
            finds=[ask("SELECT count(*) FROM own_rating WHERE order_id IS NOT NULL", (298,))],
        ),
    ),
    tables=("*",),
    receiver_tables=("own_rating", "own_visit"),
    modes=EVERY_MODE,
)

OSCAR_ROWS = """
INSERT INTO address_country SELECT 'C' || n, 'CC' || n, n, 'p', 'n', n, true
  FROM generate_series(1, 9) n;
INSERT INTO catalogue_attributeoptiongroup (name) VALUES ('sizes');
INSERT INTO catalogue_attributeoption (option, group_id, code)
  SELECT 'o' || n, 1, 'code ' || n FROM generate_series(1, 20) n;
INSERT INTO catalogue_productclass (name, slug, requires_shipping, track_stock)
  SELECT 'c' || n, 'c' || n, true, true FROM generate_series(1, 4) n;
INSERT INTO catalogue_product (structure, upc, title, slug, description, date_created,
    date_updated, is_discountable, parent_id, product_class_id, is_public, priority, code)
  SELECT CASE WHEN n > 60 THEN 'child' ELSE 'parent' END, 'upc ' || n, 't' || n, 's' || n, '',
    now(), now(), true, CASE WHEN n > 60 THEN 1 + n % 60 END, 1 + n % 4, true, n, NULL
    FROM generate_series(1, 300) n;
INSERT INTO catalogue_category (path, depth, numchild, name, description, slug,
    ancestors_are_public, is_public, exclude_from_menu, long_description)
  SELECT lpad(n::text, 4, '0'), 1, 0, 'c' || n, '', 's' || n, true, true, false, ''
    FROM generate_series(1, 60) n;
INSERT INTO catalogue_productcategory (category_id, product_id)
  SELECT 1 + n % 60, n FROM generate_series(1, 300) n;
INSERT INTO catalogue_productattribute (name, code, type, required, option_group_id,
    product_class_id)
  SELECT 'a' || n, 'a' || n, 'option', false, 1, 1 + n % 4 FROM generate_series(1, 8) n;
INSERT INTO catalogue_productattributevalue (attribute_id, product_id, value_option_id)
  SELECT 1 + n % 8, 1 + n / 8, 1 + n % 20 FROM generate_series(0, 399) n;
INSERT INTO catalogue_productimage (original, caption, display_order, date_created, product_id,
    code)
  SELECT 'i' || n, '', n % 3, now(), n, 'code ' || n FROM generate_series(1, 200) n;
INSERT INTO partner_partner (code, name) SELECT 'p' || n, 'n' FROM generate_series(1, 3) n;
INSERT INTO partner_stockrecord (partner_sku, price_currency, price, num_in_stock, date_created,
    date_updated, partner_id, product_id)
  SELECT 'sku ' || n, 'EUR', n / 7.0, n, now(), now(), 1 + n % 3, n
    FROM generate_series(1, 300) n;
INSERT INTO catalogue_productrecommendation (ranking, primary_id, recommendation_id)
  SELECT n % 3, n, 301 - n FROM generate_series(1, 100) n;
"""
OSCAR = Situation(
    "oscar_a_django_application",
    schema("oscar"),
    rows=OSCAR_ROWS,
    receiver="ALTER TABLE catalogue_product ADD score int DEFAULT 0; CREATE TABLE own_wish"
    " (id serial PRIMARY KEY, product_id int NOT NULL REFERENCES catalogue_product"
    " DEFERRABLE INITIALLY DEFERRED)",
    own="UPDATE catalogue_product SET score = id; INSERT INTO own_wish (product_id)"
    " SELECT id FROM catalogue_product",
    steps=(
        partial(
            # Treebeard moves a category to the front: every path is another's.
            "UPDATE catalogue_category SET path = 'x' || path; UPDATE catalogue_category SET"
            " path = lpad((1 + id % 60)::text, 4, '0');"
            "UPDATE catalogue_category SET path = '00010001', depth = 2 WHERE id = 7;"
            "UPDATE catalogue_product SET upc = 'x' || upc WHERE id <= 100;"
            "UPDATE catalogue_product SET upc = 'upc ' || 101 - id WHERE id <= 100;"
            "UPDATE catalogue_product SET parent_id = NULL, structure = 'parent' WHERE id = 299;"
            "UPDATE catalogue_product SET parent_id = 299 WHERE parent_id = 3;"
            "UPDATE partner_stockrecord SET partner_id = 1 + (partner_id % 3);"
            "UPDATE partner_stockrecord SET partner_sku = 'x' || partner_sku;"
            "UPDATE partner_stockrecord SET partner_sku = 'sku ' || 301 - id;"
            "UPDATE catalogue_productimage SET code = 'x' || code;"
            "UPDATE catalogue_productimage SET code = 'code ' || 1 + id % 200",
            finds=[
                ask("SELECT count(*) FROM catalogue_product WHERE score = id", (300,)),
                ask("SELECT count(*) FROM own_wish", (300,)),
            ],
        ),
        partial(
            # Values of one product are deleted and inserted again, as its form does.
            "DELETE FROM catalogue_productattributevalue WHERE product_id = 5;"
            "INSERT INTO catalogue_productattributevalue (attribute_id, product_id,"
            " value_option_id) SELECT n, 5, n FROM generate_series(1, 8) n",
            deletes={"catalogue_productattributevalue": 8},
        ),
        complete(
            "DELETE FROM catalogue_productrecommendation WHERE 2 IN (primary_id,"
            " recommendation_id); DELETE FROM catalogue_productattributevalue"
            " WHERE product_id = 2; DELETE FROM catalogue_productimage WHERE product_id = 2;"
            "DELETE FROM catalogue_productcategory WHERE product_id = 2; DELETE FROM"
            " partner_stockrecord WHERE product_id = 2; UPDATE catalogue_product SET parent_id ="
            " 3 WHERE parent_id = 2; DELETE FROM catalogue_product WHERE id = 2",
            finds=[ask("SELECT count(*) FROM own_wish", (299,))],
        ),
    ),
    tables=("catalogue_*", "partner_*", "address_*"),
    modes=TWO,
)

PROCRASTINATE = Situation(
    "procrastinate_triggers_that_write_into_a_replicated_table",
    schema("procrastinate"),
    rows="INSERT INTO procrastinate_workers DEFAULT VALUES; INSERT INTO procrastinate_workers"
    " DEFAULT VALUES; INSERT INTO procrastinate_jobs (queue_name, task_name, queueing_lock, lock,"
    " scheduled_at) SELECT 'q' || n % 3, 't', 'ql' || n, 'l' || n % 40, CASE WHEN n % 5 = 0 THEN"
    " now() END FROM generate_series(1, 200) n;"
    "INSERT INTO procrastinate_periodic_defers (task_name, defer_timestamp, job_id)"
    " SELECT 't', n, n FROM generate_series(1, 50) n;"
    "UPDATE procrastinate_jobs SET status = 'doing', worker_id = 1 WHERE id <= 40",
    receiver="CREATE TABLE own_remark (job_id bigint NOT NULL REFERENCES procrastinate_jobs"
    " ON DELETE CASCADE, remark text)",
    own="INSERT INTO own_remark SELECT id, 'r' FROM procrastinate_jobs",
    first_may_wait={Mode.LEAST: ["procrastinate_trigger"]},
    steps=(
        partial(
            # The next of each lock are taken; those before are done; queueing locks go round.
            "UPDATE procrastinate_jobs SET status = 'succeeded', worker_id = NULL WHERE id <= 40;"
            "UPDATE procrastinate_jobs SET status = 'doing', worker_id = 2 WHERE id BETWEEN 41"
            " AND 80; INSERT INTO procrastinate_jobs (queue_name, task_name, queueing_lock)"
            " SELECT 'q', 't', 'ql' || n FROM generate_series(41, 80) n;"
            "UPDATE procrastinate_jobs SET queueing_lock = 'x' || queueing_lock WHERE id"
            " BETWEEN 101 AND 150; UPDATE procrastinate_jobs SET queueing_lock = 'ql' ||"
            " 251 - id WHERE id BETWEEN 101 AND 150",
            finds=[ask("SELECT count(*) FROM own_remark", (200,))],
        ),
        partial(
            "UPDATE procrastinate_jobs SET abort_requested = true WHERE id = 41;"
            "UPDATE procrastinate_jobs SET status = 'todo', queueing_lock = NULL, worker_id = NULL"
            " WHERE id = 42; DELETE FROM procrastinate_workers WHERE id = 1",
            keeps=True,
        ),
        complete(
            "DELETE FROM procrastinate_jobs WHERE status = 'succeeded'",
            finds=[ask("SELECT count(*) FROM own_remark", (160,))],
        ),
    ),
    tables=("procrastinate_*",),
    modes=EVERY_MODE,
)

QUEUES = (
    "SELECT pgboss.create_queue('plain', '{}'); SELECT pgboss.create_queue('short',"
    """ '{"policy": "short"}'); SELECT pgboss.create_queue('single', '{"policy": "singleton"}');"""
    """SELECT pgboss.create_queue('dead', '{"deadLetter": "plain"}')"""
)
PGBOSS = Situation(
    "pgboss_a_partition_for_each_queue",
    schema("pgboss") + ";;" + QUEUES,
    rows="INSERT INTO pgboss.job (name, policy, singleton_key, priority, data, state, dead_letter)"
    " SELECT q, CASE q WHEN 'short' THEN 'short' WHEN 'single' THEN 'singleton' END, 'k' || n, n,"
    """ '{"a": 1.0}', 'created', CASE q WHEN 'dead' THEN 'plain' END"""
    " FROM generate_series(1, 60) n, unnest('{plain,short,single,dead}'::text[]) q;"
    "UPDATE pgboss.job SET state = 'active', singleton_key = 'k' WHERE name = 'single'"
    " AND priority = 1; INSERT INTO pgboss.schedule (name, cron) VALUES ('plain', '* * * * *')",
    steps=(
        partial(
            # The one active job of a singleton is done, the next one is active.
            "UPDATE pgboss.job SET state = 'completed', output = '{}' WHERE state = 'active';"
            "UPDATE pgboss.job SET state = 'active', singleton_key = 'k' WHERE name = 'single'"
            " AND priority = 2;"
            "UPDATE pgboss.job SET singleton_key = 'x' || singleton_key WHERE name = 'short';"
            "UPDATE pgboss.job SET singleton_key = 'k' || 61 - priority WHERE name = 'short';"
            "UPDATE pgboss.job SET retry_count = 1, expire_in = '900 s' WHERE name = 'dead'"
        ),
        partial(
            "UPDATE pgboss.queue SET retry_limit = 9; INSERT INTO pgboss.job (name, priority)"
            " SELECT 'plain', 1000 + n FROM generate_series(1, 20) n"
        ),
        complete(
            "INSERT INTO pgboss.archive SELECT job.*, now() FROM pgboss.job"
            " WHERE state = 'completed';"
            "DELETE FROM pgboss.job WHERE state = 'completed' OR name = 'dead' AND priority > 50"
        ),
    ),
    tables=("pgboss.*",),
    modes=TWO,
)


@pytest.mark.long
@cases((MEDUSA, OSCAR, PROCRASTINATE, PGBOSS))
def test_applications_of_other_people_stay_equal(
    run_situation: RunSituation, situation: Situation, mode: Mode
) -> None:
    run_situation(situation, mode)
