//! The Rust snippets of the book about programs without Bevy, compiled. A test of the repository compares them with
//! the pages.
#![allow(dead_code, missing_docs, unused_variables, clippy::needless_borrow, clippy::print_stdout)]

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// `docs/play_sessions.md`.
mod play_session {
    use hana_network::Node;
    use hana_protocol::id::{NodeId, role};
    use hana_protocol::parameter::ParameterName;

    fn play(node: &Node<role::App>) -> super::Outcome {
        let session = node.play_session(&NodeId::new("ripples")?);
        let zoom = ParameterName::new("zoom")?;
        session.set(&zoom, 0.5)?; // as often as you like; neither blocks nor allocates
        println!("{}", session.status()); // direct 0.2 ms
        Ok(())
    }
}

/// `docs/modulation.md`.
mod modulation {
    use hana_engine::playout::BatcherSettings;
    use hana_network::{DirectLink, Node};
    use hana_protocol::id::role;
    use hana_protocol::parameter::{Modulator, Parameter, ParameterName};

    fn play(link: &DirectLink, node: &Node<role::App>, parameter: &Parameter) -> super::Outcome {
        let stream = link.batch_stream(BatcherSettings::default())?;
        let zoom = stream.place(&ParameterName::new("zoom")?)?;
        stream.set(zoom, 0.5)?; // as often as you like; neither blocks nor allocates
        let hue = zoom;
        let swing: Modulator = "lfo:sine:8bars:depth=0.9".parse()?;
        let now = hana_network::local_us();
        if let Some(timeline) = node.timeline().at(now) {
            stream.set(hue, swing.value_at(&parameter, &timeline, now))?;
        }
        Ok(())
    }
}
