//! A real Chromium without a window, by way of `WebDriver`, in blocking steps.
//!
//! `services/chromium` of the shared directory starts the driver. The browser and the driver end with [`Chromium`].

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fantoccini::wd::{Capabilities, WebDriverCompatibleCommand, WindowHandle};
use fantoccini::{Client, ClientBuilder, Locator};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use url::{ParseError, Url};

use crate::shared::{has_program, service};
use crate::world::PATIENCE;

/// Keys by the code points that `WebDriver` gives them.
const TAB: &str = "\u{e004}";
pub(super) const ENTER: &str = "\u{e007}";

/// Widths in CSS pixels: the narrowest phone, and a window on a desk.
const WIDTHS: [(&str, u32); 2] = [("narrow", 320), ("wide", 1100)];

/// A browser, its driver, and where its pictures go.
pub(super) struct Chromium {
    script: PathBuf,
    directory: TempDir,
    client: Option<Client>,
    pictures: PathBuf,
    /// What the pictures' names begin with.
    name: &'static str,
    runtime: Runtime,
}

impl Chromium {
    /// Starts a browser. Nothing if that can't be done here.
    pub(super) fn start(name: &'static str) -> Option<Self> {
        let script = service("chromium")?;
        if !has_program("chromedriver") {
            return None;
        }
        let pictures = std::env::var_os("CMS_SCREENSHOTS")
            .map_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("screenshots"), PathBuf::from);
        fs::create_dir_all(&pictures).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let directory = tempfile::tempdir().unwrap();
        // From here on dropping it ends whatever was started.
        let mut browser = Self { script, directory, client: None, pictures, name, runtime };
        let output = Command::new(&browser.script)
            .arg("driver")
            .arg(browser.directory.path())
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(output.status.success(), "the driver doesn't start: {}", output.status);
        let printed = String::from_utf8(output.stdout).unwrap();
        let value = |key: &str| {
            printed.lines().find_map(|line| line.strip_prefix(key)).and_then(|rest| rest.strip_prefix('=')).unwrap()
        };
        let arguments: Value = serde_json::from_str(value("CHROME_ARGS")).unwrap();
        let mut wishes = Capabilities::new();
        wishes.insert("goog:chromeOptions".to_owned(), json!({ "args": arguments, "binary": value("CHROME_BIN") }));
        wishes.insert("goog:loggingPrefs".to_owned(), json!({ "browser": "ALL" }));
        let mut http = hyper_util::client::legacy::connect::HttpConnector::new();
        http.set_nodelay(true);
        let connecting =
            browser.runtime.block_on(ClientBuilder::new(http).capabilities(wishes).connect(value("WEBDRIVER_URL")));
        browser.client = Some(connecting.unwrap());
        Some(browser)
    }

    fn client(&self) -> &Client {
        self.client.as_ref().unwrap()
    }

    /// Goes to an address, as if it were typed.
    pub(super) fn go(&self, address: &str) {
        self.runtime.block_on(self.client().goto(address)).unwrap();
    }

    /// Opens a tab without leaving the one that is shown, and returns its name.
    pub(super) fn new_tab(&self) -> WindowHandle {
        self.runtime.block_on(self.client().new_window(true)).unwrap().handle
    }

    /// The name of the tab that is shown.
    pub(super) fn tab(&self) -> WindowHandle {
        self.runtime.block_on(self.client().window()).unwrap()
    }

    /// How many tabs there are.
    pub(super) fn tabs(&self) -> usize {
        self.runtime.block_on(self.client().windows()).unwrap().len()
    }

    /// Shows another tab.
    pub(super) fn show(&self, tab: WindowHandle) {
        self.runtime.block_on(self.client().switch_to_window(tab)).unwrap();
    }

    /// What the address bar shows.
    pub(super) fn address(&self) -> Url {
        self.runtime.block_on(self.client().current_url()).unwrap()
    }

    /// The origin of the page that is shown. The service sends browsers back to ours under another name than `localhost`.
    pub(super) fn origin(&self) -> String {
        self.address().origin().ascii_serialization()
    }

    /// What a JavaScript expression is worth in the page; nothing while one page makes room for the next.
    pub(super) fn value(&self, expression: &str) -> Option<Value> {
        self.runtime.block_on(self.client().execute(&format!("return {expression}"), Vec::new())).ok()
    }

    /// Waits until a JavaScript expression is true in whatever page is there.
    #[track_caller]
    pub(super) fn wait_until(&self, expression: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.value(expression) != Some(Value::Bool(true)) {
            assert!(
                Instant::now() < deadline,
                "`{expression}` never came true at {}:\n{}",
                self.address(),
                self.value("document.body.innerText").unwrap_or_default().as_str().unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until an element's text contains another.
    #[track_caller]
    pub(super) fn wait_for_text(&self, selector: &str, text: &str) {
        self.wait_until(&format!(
            "(document.querySelector({}) || document.createElement('p')).innerText.includes({})",
            json!(selector),
            json!(text)
        ));
    }

    /// Waits until there is such an element.
    #[track_caller]
    pub(super) fn wait_for(&self, selector: &str) {
        self.wait_until(&format!("document.querySelector({}) !== null", json!(selector)));
    }

    /// An element's text as people see it; empty if there is none.
    pub(super) fn text(&self, selector: &str) -> String {
        let expression = format!("document.querySelector({})?.innerText", json!(selector));
        self.value(&expression).and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
    }

    /// Clicks an element, once it is there. What comes of it is to be waited for.
    #[track_caller]
    pub(super) fn click(&self, selector: &str) {
        let deadline = Instant::now() + PATIENCE;
        // It may be replaced by another between being found and being clicked.
        let click = async || self.client().find(Locator::Css(selector)).await?.click().await;
        while let Err(error) = self.runtime.block_on(click()) {
            assert!(Instant::now() < deadline, "`{selector}` can't be clicked: {error}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Presses a key, for whatever has the focus.
    #[track_caller]
    pub(super) fn press(&self, key: &str) {
        self.runtime.block_on(async { self.client().active_element().await?.send_keys(key).await }).unwrap();
    }

    /// Presses the Tab key until an element has the focus.
    #[track_caller]
    pub(super) fn tab_to(&self, selector: &str) {
        for _ in 0..20 {
            if self.has_focus(selector) {
                return;
            }
            self.press(TAB);
        }
        panic!("`{selector}` can't be reached with the Tab key");
    }

    /// Whether an element has the focus.
    pub(super) fn has_focus(&self, selector: &str) -> bool {
        let expression = format!("document.activeElement.matches({})", json!(selector));
        self.value(&expression) == Some(Value::Bool(true))
    }

    /// Takes pictures of the page that is shown, narrow and wide, light and dark, and holds it to what is good for all
    /// four: nothing is wider than the window.
    #[track_caller]
    pub(super) fn picture(&self, state: &str) {
        for (width_name, width) in WIDTHS {
            self.devtools(
                "Emulation.setDeviceMetricsOverride",
                &json!({ "width": width, "height": 700, "deviceScaleFactor": 1, "mobile": false }),
            );
            let height = self.value("document.documentElement.scrollHeight").unwrap();
            let too_wide = self.value("document.documentElement.scrollWidth - innerWidth").unwrap();
            // All of it fits into a picture of a window that is high enough.
            self.devtools(
                "Emulation.setDeviceMetricsOverride",
                &json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false }),
            );
            for scheme in ["light", "dark"] {
                let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
                self.devtools("Emulation.setEmulatedMedia", &json!({ "features": features }));
                let picture = self.runtime.block_on(self.client().screenshot()).unwrap();
                let path = self.pictures.join(format!("{}-{state}-{width_name}-{scheme}.png", self.name));
                fs::write(&path, picture).unwrap();
                println!("{}", path.display());
            }
            assert!(too_wide.as_i64() <= Some(0), "{state}, {width_name}: {too_wide} pixels too wide");
        }
        self.devtools("Emulation.clearDeviceMetricsOverride", &json!({}));
        self.devtools("Emulation.setEmulatedMedia", &json!({ "features": [] }));
    }

    /// That the browser has found nothing wrong with the pages of `origin` since it was asked last. It says a line of
    /// its own about an answer of 400, which a failed sign-in is shown with.
    #[track_caller]
    pub(super) fn assert_quiet(&self, origin: &str) {
        let lines = self.command("se/log", json!({ "type": "browser" }));
        let complaints: Vec<&str> = lines
            .as_array()
            .unwrap()
            .iter()
            // Below that are hints, such as that the script gave the focus to something before the browser did.
            .filter(|line| line["level"] == "SEVERE" || line["level"] == "WARNING")
            .filter_map(|line| line["message"].as_str())
            .filter(|message| {
                message.contains(origin) && !message.contains("the server responded with a status of 400")
            })
            .collect();
        assert!(complaints.is_empty(), "the browser complains: {complaints:#?}");
    }

    fn devtools(&self, command: &str, parameters: &Value) {
        self.command("goog/cdp/execute", json!({ "cmd": command, "params": parameters }));
    }

    fn command(&self, path: &'static str, body: Value) -> Value {
        self.runtime.block_on(self.client().issue_cmd(Own { path, body })).unwrap()
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            // The driver ends the browser that it started.
            let _ = self.runtime.block_on(client.close());
        }
        let _ = Command::new(&self.script).arg("stop").arg(self.directory.path()).status();
    }
}

/// A command that chromedriver has beyond the standard's.
#[derive(Debug)]
struct Own {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Own {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _: &Url) -> (hyper::Method, Option<String>) {
        (hyper::Method::POST, Some(self.body.to_string()))
    }
}
