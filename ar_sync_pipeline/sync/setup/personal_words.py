"""Words of English and Spanish names of tables and columns, by what the columns contain."""

from __future__ import annotations

# Words that are personal in any table; singular, all lower case.
PERSONAL = {
    "secret": "password passwd pwd passphrase secret token apikey session cookie otp totp pin"
    " credential signature webhook clave contrasena contraseña cvv cvc passwordhash userpassword"
    " accesstoken refreshtoken nonce pem dsn passwordsalt serverkey storedkey",
    "contact": "email mail correo phone telephone tel mobile cell cellphone fax telefono teléfono"
    " celular whatsapp recipient address street addr direccion dirección postcode postalcode postal"
    " zip zipcode domicilio emailaddress useremail streetname phonenumber mobilephone homephone"
    " workphone addressline",
    "name": "firstname lastname surname forename fullname nickname username login"
    " nombres apellido usuario cardholder payer payee beneficiary",
    "identity": "birth born birthday birthdate dob ssn passport rut dni nif curp iban bic gender"
    " cedula cédula cpf"
    " ssnid sex nacimiento imei imsi msisdn device deviceid phoneid uuidphone cardnumber taxid"
    " nationality religion ethnicity salary dateofbirth creditcard",
    "position": "latitude longitude lat lon lng geolocation gps coordinate ip ipaddress"
    " latitud longitud ubicacion ubicación",
    # A ``repr`` is a copy of other columns, as in Django's log of changes.
    "free text": "note comment message body remark memo feedback biography transcript repr nota"
    " askmessage comentario mensaje observacion observación",
}
# Words that are personal together.
PAIRS = {
    "secret": "api key, secret key, private key, access key, activation key, reset key,"
    " encryption key, verification code, activation code, reset code, access code, invite code,"
    " security code, recovery code, backup code, session key, ssh key, password hash, key hash,"
    " key digest, auth hash, hmac key, authorization header, auth header, saml response,"
    " saml assertion, database url, connection url, connection string,"
    " smtp pass, mail pass, email pass, imap pass, user pass, db pass, database pass, ftp pass,"
    " ssh pass, ldap pass, proxy pass, admin pass, login pass, twofa key, mfa key, signing key,"
    " server key, stored key",
    "name": "first name, last name, full name, middle name, user name, contact name, given name,"
    " family name, maiden name, account holder, author name, recipient name, sender name,"
    " holder name, owner name, buyer name,"
    " attendee name, participant name, guest name, customer name, client name, employee name,"
    " billing name, shipping name, legal name",
    "contact": "website url, homepage url, profile url, avatar url, photo url, blog url,"
    " personal url, linkedin url, twitter url, facebook url, instagram url, github url,"
    " facebook id, twitter id, linkedin id, instagram id, google id, twitter handle,"
    " instagram handle, telegram handle, emergency contact",
    "identity": "user agent, phone id, device id, tax id, vat id, vat number, vat no,"
    " national id, identification id, identification number, identification no, card number,"
    " account number, acc number, acc no,"
    " card no, account no, mac address, credit card, cc number, bank account, social security,"
    " national insurance, insurance number, driver license, driver licence, driving license,"
    " driving licence, marital status, legal number",
    "activity": "last login, last seen, last active, last activity, last access",
    "position": "remote addr, ip address, geo location",
    "picture": "profile photo, profile picture, profile image",
}
# Words that are personal only in a table about people: alone, after `PREFIXES`, and before a digit.
OF_PEOPLE = {
    "name": "name displayname nombre fname lname nick",
    "contact": "jid city town state province county country region comuna ciudad company line"
    " location home homepage website url blog linkedin twitter facebook instagram skype telegram",
    "secret": "key hash digest salt",
    "identity": "card licence license licencia tarjeta mac",
    "picture": "avatar photo portrait foto",
    "free text": "search query text content title subject description summary bio about"
    " instruction question answer review",
}
PREFIXES = (
    "billing shipping bill ship home work office delivery postal mailing mail contact invoice"
    " residence permanent current guest customer client user owner primary secondary alternate"
    " emergency address display change search company draft seo previous"
)
# Words that are personal only in a table about bank cards and accounts.
OF_CARDS = "number name holder reference expiry expiration"
# Words that are personal in a table whose rows belong to people.
OF_OWNERS = {
    "free text": "name title query search text content subject description summary question"
    " answer review",
    "secret": "key hash digest",
    "identity": "card licence license licencia tarjeta",
}
# A `state` or `region` is a place only beside one of these.
PLACES = "address street addr postcode postalcode postal zip zipcode city town direccion dirección"
AMBIGUOUS = "state region"
# A table about people has a word that ends with one of these.
PEOPLE = (
    "user customer client person people employee member patient contact passenger driver student"
    " subscriber account profile guest visitor recipient attendee participant"
    " usuario cliente persona pasajero conductor"
)
# A table of what people sent in by a form has a word that ends with one of these.
ENTRIES = "submission enquiry inquiry"
# In a table whose name ends with one of these a `code` lets its bearer in.
GRANTS = "grant"
# Last words of copies and parts of another column: `name_cached` has what `name_parts` has.
COPIES = "cached cache part copy normalized normalised canonical lowercase"
# First words of the same: `lower_email`, and `lemail` beside `email`.
LOWER_CASE = "l lower"
# A column that begins with this is encrypted, so secret, whatever it describes: `encrypted_url_iv`.
ENCRYPTED = "encrypted"
# So is one that ends with one of these.
ENCRYPTED_ENDS = "encrypted crypt salt"
# Last words of columns that tell only how, when or by whom something was encrypted.
ABOUT_ENCRYPTED = "at by id type count size length version algorithm enabled status"
# A `name` in a table whose name ends with one of these is that of a program or task.
PROGRAMS = "application app build job pipeline runner"
# Beside a column that ends with one of these, those with the same beginning are of one address.
STREETS = "street streetname postcode postalcode zip zipcode"
# Names of text columns that often contain a document, whatever their table; singular.
DOCUMENTS = (
    "info, data, metadata, payload, answer, meta info, meta data, json data, object,"
    " object change, serialized data, audited change, handler, task args, task kwargs,"
    " post data, get data"
)
# A word that ends with one of these lets its bearer in, or its table has what does.
TOKENS = "token apikey session secret credential"
# Columns of such a table that are what lets the bearer in.
OF_TOKENS = "key hash digest"
# Last words of the two columns of a table of settings.
SETTING_KEYS = "key setting"
SETTING_VALUE = "value"
# A table of settings, other than one of attributes, has a word that contains one of these.
SETTING_TABLES = "setting config parameter preference option"
# Columns that refer to who changed a row, as a trace and not as its owner: `write_uid`.
EDITORS = "write uid, updated by, modified by, changed by, edited by, last edited by"
# So do these beside one of them.
MAKERS = "create uid, created by"
CARDS = "card bankcard creditcard bankaccount"
ADDRESSES = "address direccion dirección"
# Last words of tables that are about something else: `customer_type`, `user_permission`.
OTHER_TABLES = (
    "type country status permission group role category setting template kind reason level tag"
    " option plan language currency"
)
# Last words of columns that describe data and are none: `card_type`, `email_template`.
DESCRIPTIONS = (
    "type template kind status count enabled verified confirmed required format method provider"
    " domain host port server limit length size version class sent at interval timeout expires"
    " expiry label config setting option policy scope algorithm field table file path url prefix"
    " visibility state window hostname"
)
# A number of what is in the name, wherever the word is: `unique_ips_limit_per_user`.
RATE = "per"
# First words of columns that describe data and are none: `num_orders_as_shipping_address`.
COUNTS = "is has num nb total max min can allow requires show hide default error meta enable"
# Last words of free text in a format: `body_html`.
FORMATS = "text html plain md raw"
# Last words of identities that may be numbers.
NUMBERED = "number ssn dni rut nif imei imsi msisdn iban salary cardnumber cedula cédula cpf"
