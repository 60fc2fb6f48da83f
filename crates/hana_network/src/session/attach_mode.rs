/// The way in which a node is attached to the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AttachMode {
    /// Through the daemon of this machine.
    ViaDaemon,
    /// As a peer among all others, without a daemon; also the mode of a daemon itself.
    Peer,
}
