/// The way in which a node is attached to the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AttachMode {
    /// The node is attached through the daemon of this machine.
    ViaDaemon,
    /// The node is a peer of all other nodes, without a daemon. A daemon itself has this mode too.
    Peer,
}
