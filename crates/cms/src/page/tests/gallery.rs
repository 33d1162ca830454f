//! Everything that the page can show, to be looked at with a browser.

use super::*;

/// Serves one sample at each port from 8101 on, until stopped. Where a sign-in begins is at 8100.
#[tokio::test]
#[ignore = "for people to look at"]
async fn gallery() {
    let samples = [
        samples::needed(),
        samples::in_browser(),
        samples::with_code(),
        samples::failed(),
        samples::syncing(),
        samples::trouble(),
        samples::in_sync(),
        samples::unreachable(),
        samples::keyring(),
        samples::starting(),
        samples::needed(),
        samples::in_sync(),
        samples::held(),
    ];
    let mut pages = Vec::new();
    for (port, status) in (8101..).zip(samples) {
        let desk = Notebook { sign_in: Some("http://127.0.0.1:8100/authorize".to_owned()), ..Notebook::default() };
        let board = Board::new(status);
        if port == 8112 {
            board.update(|status| samples::set(status, 0, SignInStatus::InBrowser));
            board.update(|status| *status = samples::in_sync());
        }
        let bound = Page::bind(&[SocketAddr::new("127.0.0.1".parse().unwrap(), port)]).unwrap();
        pages.push((board.clone(), bound.serve(board, Arc::new(desk))));
    }
    // The one at 8111 is taken through its sign-ins, again and again.
    let board = pages[10].0.clone();
    loop {
        tokio::time::sleep(Duration::from_secs(4)).await;
        board.update(|status| samples::set(status, 0, SignInStatus::InBrowser));
        tokio::time::sleep(Duration::from_secs(4)).await;
        board.update(|status| samples::set(status, 0, samples::in_sync().accounts[0].sign_in.clone()));
        tokio::time::sleep(Duration::from_secs(4)).await;
        board.update(|status| *status = samples::in_sync());
        tokio::time::sleep(Duration::from_secs(4)).await;
        board.update(|status| *status = samples::needed());
    }
}
