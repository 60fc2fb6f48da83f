//! Parses any text as a key, an id, a name and an encoding: a parsed value formats back to the same text.

use hana_protocol::contract::Key;
use hana_protocol::id::NodeId;
use hana_protocol::parameter::ParameterName;
use hana_protocol::wire::codec::Encoding;

pub(crate) fn check(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Some(key) = Key::parse(&text) {
        assert_eq!(key.to_string(), text);
        assert_eq!(Key::parse(&key.to_string()), Some(key.clone()));
        assert!(text.len() <= Key::MAX_LEN);
        assert_eq!(text.split('/').nth(1), Some(key.owner().as_str()));
    }
    match NodeId::new(&text) {
        Ok(id) => {
            assert_eq!(id.to_string(), text);
            assert_eq!(NodeId::from_hostname(&text).as_str(), text.trim_end_matches('-'));
            for number in [0, 2, u32::MAX] {
                NodeId::new(id.numbered(number).as_str()).expect("a numbered id is an id");
            }
            // Every valid node id is also valid as the node in a key.
            assert!(Key::parse(&format!("hana/{id}/modulation/{id}")).is_some());
            assert!(Key::parse(&format!("hana/{id}/alive/visualization/{id}")).is_some());
        },
        Err(problem) => assert!(problem.to_string().len() < 1000, "{problem}"),
    }
    assert_eq!(NodeId::new(&text).is_ok(), ParameterName::new(&text).is_ok());
    NodeId::new(NodeId::from_hostname(&text).as_str()).expect("every hostname becomes an id");
    let _ = Encoding::from_label(&text);
}
