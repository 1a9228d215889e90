"""The forms of password hashes that users of basic authentication bring; the password is `secret` in each."""

USERS = (
    ("sha", "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="),
    ("apr1", "$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/"),
    ("md5", "$1$abcdefgh$cHJi5PXp/ki/ktXzqlk6I1"),
    ("sha256", "$5$abcdefgh$gruCpC7VkOTspMQTTSAR8mtlO9Upms.fwqE5y16JVM."),
    ("bcrypt", "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW"),
)
