//! Reaching a browser that is on another computer.

use std::env;

/// What to type on one's own computer so that its browser reaches the page here, if this is a session over ssh.
pub(super) fn port_forward(port: u16) -> Option<String> {
    forward(env::var("SSH_CONNECTION").ok().as_deref(), env::var("USER").ok().as_deref(), port)
}

/// `SSH_CONNECTION` holds the client's address and port and the server's address and port (ssh(1)).
fn forward(connection: Option<&str>, user: Option<&str>, port: u16) -> Option<String> {
    let server = connection?.split_whitespace().nth(2)?;
    let at = user.filter(|user| !user.is_empty()).map(|user| format!("{user}@")).unwrap_or_default();
    Some(format!("ssh -N -L {port}:localhost:{port} {at}{server}"))
}

#[cfg(test)]
mod tests {
    use super::forward;

    #[test]
    fn the_line_to_type_names_the_server_as_the_client_reached_it() {
        let line = forward(Some("192.0.2.7 50122 192.0.2.1 22"), Some("anna"), 8080);
        assert_eq!(line.as_deref(), Some("ssh -N -L 8080:localhost:8080 anna@192.0.2.1"));
        assert_eq!(forward(None, Some("anna"), 8080), None);
        assert_eq!(forward(Some("garbage"), None, 8080), None);
    }
}
