//! Teams, limits, prices and the store.

use super::{BACKENDS, SMALL, USER, backend, errors, good, refused, second, warned, with};

fn team(lines: &str) -> String {
    format!("{SMALL}[teams.t]\n{lines}\n")
}

fn limits(lines: &str) -> String {
    format!("{SMALL}[users.admin.limits]\n{lines}\n")
}

fn store(lines: &str) -> String {
    format!("{SMALL}[store]\nurl = \"redis://127.0.0.1:6379\"\n{lines}\n")
}

const PRICE: &str = "[prices.\"gpt-4o\"]\ninput = \"2.50\"\noutput = \"10\"\n";

#[test]
fn teams_are_a_tree() {
    let two = format!("{}[teams.u]\n", team("parent = \"u\""));
    let loaded = good(&two);
    assert_eq!(loaded.config.teams["t"].parent.as_deref(), Some("u"));
    refused(
        &with(USER, "team = \"x\"").replace("[providers", "[teams.xy]\n[providers"),
        "users.admin.team: unknown team `x`",
    );
    // The team itself is no cure.
    let near = format!("{}[teams.tu]\n", team("parent = \"tt\""));
    refused(&near, "teams.t.parent: unknown team `tt`; did you mean `tu`?");
    refused(&team("parent = \"t\""), "teams.t.parent: is a cycle: `t` → `t`");
    let circle = format!("{}[teams.u]\nparent = \"v\"\n[teams.v]\nparent = \"u\"\n", team("parent = \"u\""));
    refused(&circle, "teams.u.parent: is a cycle: `u` → `v` → `u`");
    warned(&team("models = [\"gpt-4\"]"), "teams.t.models[0]: no model has the name or id `gpt-4`; did you mean");
}

#[test]
fn limits_are_numbers_in_order() {
    good(&limits("requests_per_minute = 5\ntokens_per_day = 10\nmax_concurrent_requests = 1"));
    refused(&limits("requests_per_minute = 0"), "users.admin.limits.requests_per_minute: must be from 1");
    refused(&limits("tokens_per_minute = 5\ntokens_per_hour = 4"), "tokens_per_hour: is less than `tokens_per_minute`");
    refused(&limits("token_per_minute = 5"), "unknown key `token_per_minute`; did you mean `tokens_per_minute`?");
    refused(&limits("[users.admin.limits.models.gpt-4]\nrequests_per_day = 1"), "no model has the name or id `gpt-4`");
    good(&limits("[users.admin.limits.models.gpt_4o]\nrequests_per_day = 1"));
    let twice = format!("{}[users.admin.rate_limit]\nrequests_per_minute = 3\n", limits("requests_per_minute = 5"));
    refused(&twice, "users.admin.limits.requests_per_minute: stands in `[users.admin.rate_limit]`, too");
}

#[test]
fn money_is_exact_text() {
    let priced = |lines: &str| format!("{}{PRICE}", limits(lines));
    good(&priced("cost_per_day = \"5.00\"\ncost_total = \"100\""));
    refused(&priced("cost_per_day = 5"), "cost_per_day: must be text, so that it is exact");
    refused(&priced("cost_per_day = 5.5"), "must be text");
    refused(&priced("cost_per_day = \"five\""), "must be an amount of US dollars like `2.50`");
    refused(&priced("cost_per_day = \"0\""), "must be more than 0 and at most");
    refused(&priced("cost_per_month = \"9\"\ncost_per_day = \"10\""), "cost_per_month: is less than `cost_per_day`");
}

#[test]
fn a_limit_of_cost_needs_prices() {
    let limit = "cost_per_day = \"5\"";
    refused(&limits(limit), "users.admin.limits.cost_per_day: model `gpt-4o` has no price at backend `openai:gpt-4o`");
    good(&format!("{}{PRICE}", limits(limit)));
    let own = backend("price = { input = \"1\", output = \"2\" }");
    good(&format!("{own}[users.admin.limits]\n{limit}\n"));
    let other = second("b", "b", "").replace(BACKENDS, "[{ provider = \"openai\", model = \"gpt-4o-mini\" }]");
    let other = other.replacen("gpt-4o-mini\" }]", "gpt-4o\" }]", 1);
    let one = format!("{other}{PRICE}[users.admin.limits]\n{limit}\n");
    refused(&one, "model `b` has no price at backend `openai:gpt-4o-mini`");
    let of_model = format!("{other}{PRICE}[users.admin.limits.models.\"gpt-4o\"]\n{limit}\n");
    good(&of_model);
    let of_team = format!("{other}{PRICE}[teams.t]\nmodels = [\"gpt-4o\"]\n[teams.t.limits]\n{limit}\n");
    good(&of_team);
}

#[test]
fn prices_are_whole() {
    let price = |lines: &str| format!("{SMALL}[prices.\"gpt-4o\"]\n{lines}\n");
    good(&price("input = \"1\"\noutput = \"2\"\nabove = { tokens = 200000, input = \"2\", output = \"4\" }"));
    refused(&price("input = \"1\""), "prices.gpt-4o.output: missing");
    refused(&price("input = \"1\"\noutput = 2"), "output: must be text");
    refused(
        &price("input = \"1\"\noutput = \"2\"\nabove = { input = \"2\", output = \"4\" }"),
        "above.tokens: missing",
    );
    warned(&format!("{SMALL}[prices.gpt-5]\ninput = \"1\"\noutput = \"2\"\n"), "prices.gpt-5: no model or backend");
}

#[test]
fn the_store_is_checked_and_its_address_is_secret() {
    let loaded = good(&store("mode = \"leased\"\nlease = \"0.5%\"\non_error = \"deny\""));
    assert_eq!(loaded.config.store.as_ref().unwrap().lease, 5_000);
    for (line, part) in [
        ("mode = \"loose\"", "store.mode: unknown value `loose`"),
        ("lease = \"6%\"", "store.lease: must be a percentage above 0% and at most 5%"),
        ("lease = \"5\"", "store.lease: must be a percentage"),
        ("timeout_ms = 0", "store.timeout_ms: must be from 1"),
        ("prefix = \"a{b\"", "store.prefix: must not be empty nor hold braces"),
    ] {
        refused(&store(line), part);
    }
    let secret = format!("{SMALL}[store]\nurl = \"http://user:secret-word@redis\"\n");
    refused(&secret, "store.url: must be an address like `redis://");
    assert!(!errors(&secret)[0].contains("secret-word"));
    let loaded = good(&format!("{SMALL}[store]\nurl = \"redis://:secret-word@redis\"\n"));
    assert!(!format!("{:?}", loaded.config).contains("secret-word"));
    refused(&format!("{SMALL}[store]\nmode = \"strict\"\n"), "store.url: missing");
}
