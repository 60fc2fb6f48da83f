//! A message that the role of its sender may not send does not compile.

#[test]
fn illegal_send_does_not_compile() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/illegal_sends/*.rs");
    cases.pass("tests/legal_sends/*.rs");
}
