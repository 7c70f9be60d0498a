//! Help texts and refusals that need no data, word for word.

#[test]
fn help_and_refusals_read_as_recorded() {
    trycmd::TestCases::new()
        .env("COLUMNS", "100")
        .env("HOME", "/nonexistent")
        .case("tests/cmd/*.trycmd");
}
