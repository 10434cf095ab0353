"""A proposed catalog names columns that look personal, and rules that they can have."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from ar_sync_pipeline.catalog.draft import as_toml
from ar_sync_pipeline.catalog.loader import load_catalog
from ar_sync_pipeline.postgres.checks.findings import Level
from ar_sync_pipeline.postgres.table_facts import ColumnFacts, TableFacts
from ar_sync_pipeline.sync.setup.draft_catalog import draft_catalog
from ar_sync_pipeline.sync.setup.personal_columns import Kind, personal_columns
from ar_sync_pipeline.sync.watch.database_findings import check_receiver, check_sender
from ar_sync_pipeline_tests.fix_sites import execute
from ar_sync_pipeline_tests.sync.setup.schemas import CHINOOK, DJANGO_SHOP, OSCAR_CUSTOMERS

JOINED = """
CREATE TABLE "Account" (id serial PRIMARY KEY, "Email" varchar(60) NOT NULL UNIQUE);
CREATE TABLE "Login" (id serial PRIMARY KEY,
  "Email" varchar(60) REFERENCES "Account" ("Email"));
CREATE TABLE member (username text PRIMARY KEY, phone int NOT NULL, born jsonb NOT NULL,
  ip inet NOT NULL, lat numeric(9, 6) NOT NULL, mobile numeric(12) NOT NULL,
  tokens text[] NOT NULL, net cidr NOT NULL, card macaddr NOT NULL, card8 macaddr8 NOT NULL,
  place point NOT NULL);
CREATE TABLE post (id serial PRIMARY KEY, author text REFERENCES member);
"""


def every_choice(url: str) -> str:
    """Return the drafted file with all choices made."""
    return re.sub(r"^# (?=\w+ = )", "", as_toml(draft_catalog(url)), flags=re.MULTILINE)


def ruled(url: str) -> dict[str, set[str]]:
    """Return the columns with a rule, by table."""
    sections = tomllib.loads(every_choice(url)).get("table", {})
    found = {
        label: {*section.get("exclude", ()), *section.get("mask", ())}
        for label, section in sections.items()
    }
    return {label: columns for label, columns in found.items() if columns}


def kinds_of(table: str, columns: str) -> dict[str, Kind]:
    """Return the kinds of a table's columns, given as names or as `name:type`."""
    named = (one.partition(":") for one in columns.split())
    return kinds(table, **{name: type_ or "text" for name, _, type_ in named})


@pytest.mark.parametrize(
    ("table", "columns", "kind"),
    [
        ("users", "pass_crypt pass_salt twofa_key", Kind.SECRET),
        ("users", "serverkey", Kind.SECRET),
        ("ci_variables", "encrypted_value encrypted_value_iv encrypted_value_salt", Kind.SECRET),
        ("application_settings", "encrypted_ci_jwt_signing_key_iv signing_key", Kind.SECRET),
        ("web_hooks", "encrypted_url settings_encrypted", Kind.SECRET),
        ("password", "passwordsalt", Kind.SECRET),
        ("address", "addressline1 addressline2", Kind.CONTACT),
        ("customers", "legal_name", Kind.NAME),
        ("customers", "legal_number", Kind.IDENTITY),
        ("vcard_search", "email lemail lower_email", Kind.CONTACT),
        ("vcard_search", "username lusername nickname lnickname nick", Kind.NAME),
    ],
)
def test_secrets_and_copies_with_plain_names_are_found(
    table: str, columns: str, kind: Kind
) -> None:
    assert kinds_of(table, columns) == dict.fromkeys(columns.split(), kind)


@pytest.mark.parametrize(
    ("table", "beside", "columns"),
    [
        ("files", "token", "encrypted_at:timestamp encrypted_size is_encrypted encrypted"),
        ("ci_variables", "encrypted_value", "key environment_scope"),
        ("settings", "token", "unique_ips_limit_per_user:integer commit_email_hostname"),
        ("settings", "token", "unique_ips_limit_time_window:integer"),
        ("oauth_applications", "secret", "name"),
        ("ci_builds", "token_encrypted", "name"),
        ("products", "secret", "label link lower_bound sea_salt:numeric"),
    ],
)
def test_limits_programs_and_descriptions_are_not_found(
    table: str, beside: str, columns: str
) -> None:
    assert kinds_of(table, f"{columns} {beside}") == {beside: Kind.SECRET}


def test_applications_of_people_have_names() -> None:
    assert kinds_of("job_applications", "email name")["name"] is Kind.NAME


@pytest.mark.parametrize(
    "schema",
    [CHINOOK, DJANGO_SHOP, OSCAR_CUSTOMERS, JOINED],
    ids=["chinook", "django", "oscar", "joined columns"],
)
def test_every_choice_of_the_draft_can_be_made_at_once(
    empty_database: str, tmp_path: Path, schema: str
) -> None:
    execute(empty_database, schema)
    file = tmp_path / "catalog.toml"
    file.write_text(every_choice(empty_database))
    catalog = load_catalog(file)
    found = [*check_sender(empty_database, catalog), *check_receiver(empty_database, catalog)]
    assert [str(one) for one in found if one.level is Level.ERROR] == []


def test_customers_of_a_django_shop_are_found_with_all_that_is_theirs(empty_database: str) -> None:
    execute(empty_database, OSCAR_CUSTOMERS)
    address = {"title", "first_name", "last_name", "line1", "line2", "line3", "line4", "state"}
    address |= {"postcode", "search_text", "phone_number", "notes", "hash"}
    assert ruled(empty_database) == {
        "auth_user": {"password", "last_login", "username", "first_name", "last_name", "email"},
        "address_useraddress": address,
        "analytics_usersearch": {"query"},
        "communication_email": {"subject", "body_text", "body_html", "email"},
        "communication_notification": {"subject", "body"},
        "customer_productalert": {"email", "key"},
        "order_billingaddress": {"first_name"},
        "order_order": {"guest_email"},
        "payment_bankcard": {"name", "number", "expiry_date", "partner_reference"},
        "reviews_productreview": {"title", "body", "name", "email", "homepage"},
        "wishlists_wishlist": {"name"},
    }
    text = as_toml(draft_catalog(empty_database))
    # Six characters are too few for unique pseudonyms.
    assert (
        "# key: looks personal (secret) and needs a value of the type character varying(6)" in text
    )


def test_billing_address_of_an_invoice_is_found_whole(empty_database: str) -> None:
    execute(empty_database, CHINOOK)
    assert ruled(empty_database)["Invoice"] == {
        f"Billing{part}" for part in ("Address", "City", "State", "Country", "PostalCode")
    }
    assert set(ruled(empty_database)) == {"Customer", "Employee", "Invoice"}


def test_columns_that_a_foreign_key_joins_get_one_mask_or_none(empty_database: str) -> None:
    execute(empty_database, JOINED)
    text = as_toml(draft_catalog(empty_database))
    assert ruled(empty_database) == {
        "Account": {"Email"},
        "Login": {"Email"},
        "member": {
            *("phone", "born", "ip", "lat", "mobile", "tokens", "net", "card", "card8", "place"),
        },
    }
    sections = tomllib.loads(every_choice(empty_database))["table"]
    assert sections["Login"]["mask"] == sections["Account"]["mask"] == {"Email": "pseudonym"}
    assert "# Email: joined with Email of Account. Give all of them its mask, or none." in text
    assert "# username: looks personal (name) and is part of a key" in text
    assert "# author: looks personal (name) and is joined by a foreign key with" in text


def test_numbers_and_other_types_that_need_a_value_get_an_empty_one(empty_database: str) -> None:
    execute(empty_database, JOINED)
    assert tomllib.loads(every_choice(empty_database))["table"]["member"]["mask"] == {
        "phone": {"constant": 0},
        "born": {"constant": "{}"},
        "ip": {"constant": "0.0.0.0"},  # noqa: S104  an address, not an interface
        "lat": {"round": 2},
        "mobile": {"constant": 0},
        "tokens": {"constant": "{}"},
        "net": {"constant": "0.0.0.0/0"},
        "card": {"constant": "00:00:00:00:00:00"},
        "card8": {"constant": "00:00:00:00:00:00:00:00"},
        "place": {"constant": "(0,0)"},
    }


def test_file_counts_what_it_found_and_does_not_claim_more(empty_database: str) -> None:
    execute(empty_database, OSCAR_CUSTOMERS)
    text = re.sub(r"\n#  ", "", as_toml(draft_catalog(empty_database)))
    assert "\n# 29 columns look personal or secret by name and type; 12 with free text may" in text
    assert "look through the others, too" in text
    assert "Free text may contain personal data: subject, body_text, body_html." in text


def kinds(table: str, **columns: str) -> dict[str, Kind]:
    facts = tuple(ColumnFacts(name, type_, True, False) for name, type_ in columns.items())
    return personal_columns({table: TableFacts(table, facts, (), ())})[table]


@pytest.mark.parametrize(
    "name",
    [
        *("email", "Email", "EMAIL", "guest_email", "guestEmail", "emails", "billing_address"),
        *("HomePhone", "mobile_no", "shipping_postcode", "correo", "e_mail_address"),
        *("phonenumber", "emailaddress", "IPAddress", "dateofbirth"),
        *("api_key", "resetToken", "password_hash", "private_key", "otp_code", "session_key"),
        *("firstName", "customer_name", "author_name", "cardholder", "nickname", "apellidos"),
        *("card_number", "account_number", "user_agent", "birth_date", "gender", "iban"),
        *("ip_address", "latitude", "gps_position"),
        *("maiden_name", "social_security_number", "national_insurance_number", "cedula", "cpf"),
        *("driver_license", "bank_account", "account_holder", "cc_number", "ssh_key"),
        *("marital_status", "emergency_contact", "facebook_id", "twitter_handle"),
        *("payer", "invoice_to_beneficiary", "vat_id", "attendee_name", "auth_hash"),
        *("smtp_pass", "adyen_hmac_key", "authorization_header", "saml_response", "private_pem"),
        *("dsn", "database_url", "connection_string", "nonce"),
        *("acc_number", "ssnid", "identification_id"),
        *("comments", "notes", "partner_line_notes", "body_html", "message", "observaciones"),
    ],
)
def test_name_is_personal_in_any_table(name: str) -> None:
    assert set(kinds("thing", **{name: "text"})) == {name}


@pytest.mark.parametrize(
    ("name", "type_"),
    [
        *(
            (name, "text")
            for name in ("email_template", "card_type", "phone_type", "address_format")
        ),
        *((name, "text") for name in ("email_status", "token_type", "error_message", "message_id")),
        *((name, "text") for name in ("meta_description", "description", "title", "name", "key")),
        *((name, "text") for name in ("location", "state", "hash", "number", "reference")),
        *((name, "integer") for name in ("num_orders_as_shipping_address", "comments", "messages")),
        *((name, "boolean") for name in ("email_verified", "is_mobile", "send_email")),
        ("password_changed_at", "timestamp with time zone"),
        ("address_id", "bigint"),
        *((name, "text") for name in ("fname", "photo", "avatar", "mac", "handle", "status")),
        *((name, "text") for name in ("order_status", "contact_status", "host", "product_image")),
        ("emergency_contact_id", "integer"),
        *((name, "text") for name in ("boarding_pass", "pass_type", "url", "connection_type")),
        ("area", "geometry(MultiPolygon,4326)"),
        ("route", "public.geometry(LineString,4326)"),
    ],
)
def test_name_is_not_personal_by_itself(name: str, type_: str) -> None:
    assert kinds("thing", **{name: type_}) == {}


@pytest.mark.parametrize(
    ("table", "name", "found"),
    [
        ("customer", "name", True),
        ("shop_customers", "Name", True),
        ("app_superuser", "name", True),
        ("customer_type", "name", False),
        *(("users", name, True) for name in ("fname", "lname", "avatar", "photo", "mac")),
        ("user_permission", "name", False),
        ("address_country", "name", False),
        ("billingaddress", "line2", True),
        ("client", "billing_city", True),
        ("client", "home_country", True),
        ("client", "company_name", True),
        ("client", "state", False),
        ("patient", "home", True),
        ("driver", "licence", True),
        ("guest", "card", True),
        ("software", "license", False),
        ("dashboard", "card", False),
        ("bankcard", "number", True),
        ("bankcard", "card_type", False),
        ("users", "profile_data", False),
        ("client", "draft_title", True),
        ("client", "seo_title", True),
        ("apitoken", "key_hash", True),
        ("oauthgrant", "code", True),
        ("voucher", "code", False),
        ("page", "draft_title", False),
    ],
)
def test_name_is_personal_by_the_kind_of_its_table(table: str, name: str, found: bool) -> None:
    assert (kinds(table, **{name: "text"}) != {}) is found


def test_name_is_personal_beside_personal_columns() -> None:
    assert kinds("review", name="text", rating="integer") == {}
    found = kinds("review", name="text", email="text", rating="integer", extra="jsonb")
    assert found == {"name": Kind.NAME, "email": Kind.CONTACT, "extra": Kind.FREE_TEXT}
    assert "state" not in kinds("order", email="text", state="text")
    assert "state" in kinds("order", email="text", city="text", state="text")


@pytest.mark.parametrize("table", ["wagtailforms_formsubmission", "form_submissions", "inquiry"])
def test_documents_that_visitors_submitted_are_free_text(table: str) -> None:
    assert kinds(table, form_data="jsonb") == {"form_data": Kind.FREE_TEXT}
    assert kinds("invoice", form_data="jsonb") == {}


def test_positions_and_devices_are_found_by_their_types_whatever_their_names() -> None:
    positions = {
        "location": "geometry(Point,4326)",
        "place": "public.geography(Point,4326)",
        "geom": "geometry",
        "coords": "point",
        "host": "inet",
        "hosts": "inet[]",
        "net": "cidr",
    }
    assert kinds("thing", **positions) == dict.fromkeys(positions, Kind.POSITION)
    assert kinds("thing", nic="macaddr", other="macaddr8") == {
        "nic": Kind.IDENTITY,
        "other": Kind.IDENTITY,
    }


def test_words_of_a_search_index_are_free_text_whatever_its_name() -> None:
    found = kinds("indexentry", title="tsvector", autocomplete="tsvector", title_norm="real")
    assert found == {"title": Kind.FREE_TEXT, "autocomplete": Kind.FREE_TEXT}


def test_picture_gets_no_pseudonym_which_would_name_no_file(empty_database: str) -> None:
    execute(
        empty_database,
        "CREATE TABLE app_user (id int PRIMARY KEY, username text NOT NULL, avatar text NOT NULL)",
    )
    text = as_toml(draft_catalog(empty_database))
    assert 'avatar = { constant = "" }' in text
    assert 'username = "pseudonym"' in text


def test_copy_of_other_columns_is_free_text() -> None:
    found = kinds("django_admin_log", object_repr="text", change_message="text")
    assert set(found) == {"object_repr", "change_message"}


def test_copies_and_parts_of_a_personal_column_are_personal() -> None:
    found = kinds("cart", email="text", guest_parts="jsonb", guest_cached="text", cached="text")
    assert set(found) == {"email", "guest_parts", "guest_cached"}
    assert kinds("page", html_cached="text", html_parts="text", name_cached="text") == {}


def test_parts_of_one_address_are_personal_by_the_beginning_they_share() -> None:
    address = dict.fromkeys(
        ("to", "to_street", "to_zipcode", "to_name", "to_city", "to_company", "to_state"), "text"
    )
    assert set(kinds("invoice", **address, from_name="text", to_total="text")) == set(address)
    assert kinds("route", to_city="text", to_name="text") == {}


def test_key_of_bytes_is_a_secret() -> None:
    assert kinds("keyset", uid_key="bytea", public_key="text", label="text") == {
        "uid_key": Kind.SECRET
    }


def test_time_of_the_last_visit_is_activity() -> None:
    assert kinds("thing", last_seen="timestamp with time zone") == {"last_seen": Kind.ACTIVITY}


def test_name_without_latin_letters_tells_nothing() -> None:
    assert kinds("заказ", имя="text", 電話="text") == {}


USERS = "CREATE TABLE auth_user (id int PRIMARY KEY, username text NOT NULL)"


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ("authtoken_token", "key"),
        ("knox_authtoken", "digest"),
        ("api_key", "hash"),
        ("device", "push_token"),
        ("password_reset", "reset_key"),
    ],
)
def test_table_whose_key_lets_its_bearer_in_is_not_replicated(
    empty_database: str, table: str, key: str
) -> None:
    execute(
        empty_database,
        USERS,
        f"CREATE TABLE {table} ({key} varchar(40) PRIMARY KEY, user_id int REFERENCES auth_user)",
    )
    text = as_toml(draft_catalog(empty_database))
    assert set(tomllib.loads(text)["exclude"]) == {table}
    assert f"its key {key} looks like a secret" in text
    execute(empty_database, f"CREATE TABLE use (id int PRIMARY KEY, t text REFERENCES {table})")
    assert tomllib.loads(as_toml(draft_catalog(empty_database))).get("exclude", []) == []


@pytest.mark.parametrize(
    "table",
    [
        "feature_flag (key text PRIMARY KEY, user_id int REFERENCES auth_user)",
        "site_setting (key text PRIMARY KEY, value text, user_id int REFERENCES auth_user)",
        "estado (clave text PRIMARY KEY, nombre text)",
        "token (id int PRIMARY KEY, kind text)",
        "token_use (token_id uuid PRIMARY KEY, kind text)",
        "token_type (token_type text PRIMARY KEY)",
        "talk (session int PRIMARY KEY, title text)",
    ],
)
def test_table_whose_key_only_names_its_rows_is_replicated(empty_database: str, table: str) -> None:
    execute(empty_database, USERS, f"CREATE TABLE {table}")
    assert tomllib.loads(as_toml(draft_catalog(empty_database))).get("exclude", []) == []


PARAMETERS = """
CREATE TABLE res_users (id int PRIMARY KEY, login text NOT NULL);
CREATE TABLE ir_config_parameter (id int PRIMARY KEY, key text NOT NULL UNIQUE, value text,
  create_uid int REFERENCES res_users, write_uid int REFERENCES res_users);
CREATE TABLE sale_order (id int PRIMARY KEY, name text NOT NULL,
  create_uid int REFERENCES res_users, write_uid int REFERENCES res_users);
CREATE TABLE user_setting (id int PRIMARY KEY, key text NOT NULL, value text,
  user_id int REFERENCES res_users);
CREATE TABLE product_attribute (id int PRIMARY KEY, key text NOT NULL, value text);
CREATE TABLE blog_entry (id int PRIMARY KEY, title text, created_by_id int REFERENCES res_users)
"""


def test_of_settings_the_values_get_a_rule_and_not_the_names(empty_database: str) -> None:
    execute(empty_database, PARAMETERS)
    found = ruled(empty_database)
    assert found["ir_config_parameter"] == found["user_setting"] == {"value"}
    assert "product_attribute" not in found
    text = as_toml(draft_catalog(empty_database))
    assert text.count("# value: a table of keys and values may contain secrets") == 3


def test_who_changed_a_row_last_is_not_its_owner(empty_database: str) -> None:
    execute(empty_database, PARAMETERS)
    found = ruled(empty_database)
    assert "sale_order" not in found
    assert found["blog_entry"] == {"title"}
