//! Answers HTTP with who answered and what was asked. Standard library only.
//!
//! `demo [serve] [--port N] [--udp-port N]`:
//! - `/healthz` is 200; `/readyz` is 200 until `/ready/off`, 503 from then until `/ready/on`
//! - `/slow/MS` answers after that many milliseconds; `/exit/CODE` ends the program
//! - anything else: `server ADDRESS`, `host NAME`, `client ADDRESS`, `uri PATH` and the request's headers
//!
//! `demo get URL` prints the body of an HTTP answer; `demo cat` copies input to output; `demo sleep` waits for SIGTERM;
//! `demo fail CODE` ends with that code. UDP datagrams come back behind the host's name.

use std::{
    env, fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{Ipv6Addr, Shutdown, TcpListener, TcpStream, UdpSocket},
    process::exit,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

static READY: AtomicBool = AtomicBool::new(true);
static ENDING: AtomicBool = AtomicBool::new(false);
static OPEN: AtomicUsize = AtomicUsize::new(0);

const SIGTERM: i32 = 15;
const SIGINT: i32 = 2;

unsafe extern "C" {
    fn signal(number: i32, handler: extern "C" fn(i32)) -> usize;
}

extern "C" fn end(_: i32) {
    ENDING.store(true, Ordering::SeqCst);
}

fn main() {
    // As process 1 of a container there is no default action for signals.
    // SAFETY: the handler only stores to an atomic.
    unsafe {
        signal(SIGTERM, end);
        signal(SIGINT, end);
    }
    let args: Vec<String> = env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("get") => get(args.get(1).map(String::as_str).unwrap_or_default()),
        Some("cat") => drop(io::copy(&mut io::stdin(), &mut io::stdout())),
        Some("sleep") => wait_for_end(),
        Some("fail") => exit(args.get(1).and_then(|c| c.parse().ok()).unwrap_or(1)),
        _ => serve(option(&args, "--port").unwrap_or(8080), option(&args, "--udp-port")),
    }
}

fn option(args: &[String], name: &str) -> Option<u16> {
    args.windows(2).find(|w| w[0] == name).and_then(|w| w[1].parse().ok())
}

fn wait_for_end() {
    while !ENDING.load(Ordering::SeqCst) {
        thread::sleep(Duration::from_millis(20));
    }
}

fn serve(port: u16, udp_port: Option<u16>) {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).or_else(|_| TcpListener::bind(("0.0.0.0", port)));
    let listener = match listener {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("demo: cannot listen on port {port}: {error}");
            exit(1);
        }
    };
    println!("demo: {} serves on port {port}", hostname());
    if let Some(port) = udp_port {
        thread::spawn(move || serve_udp(port));
    }
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || drop(connection(stream)));
        }
    });
    wait_for_end();
    // New connections still come until the node has taken this pod out of its rules; open ones finish.
    for _ in 0..100 {
        thread::sleep(Duration::from_millis(20));
        if OPEN.load(Ordering::SeqCst) == 0 {
            break;
        }
    }
    println!("demo: {} ends", hostname());
}

fn serve_udp(port: u16) {
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)).or_else(|_| UdpSocket::bind(("0.0.0.0", port)));
    let Ok(socket) = socket else { return };
    let mut buffer = [0; 65_535];
    while let Ok((n, from)) = socket.recv_from(&mut buffer) {
        let mut answer = hostname().into_bytes();
        answer.push(b' ');
        answer.extend_from_slice(&buffer[..n]);
        let _ = socket.send_to(&answer, from);
    }
}

fn hostname() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}

fn connection(stream: TcpStream) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        OPEN.fetch_add(1, Ordering::SeqCst);
        let again = request(&line, &mut reader, &stream);
        OPEN.fetch_sub(1, Ordering::SeqCst);
        if !again? {
            return stream.shutdown(Shutdown::Both);
        }
    }
}

/// Answers one request; whether the connection stays open.
fn request(line: &str, reader: &mut BufReader<TcpStream>, mut stream: &TcpStream) -> io::Result<bool> {
    let mut words = line.split_whitespace();
    let (_method, uri, version) = (words.next(), words.next().unwrap_or("/"), words.next().unwrap_or("HTTP/1.0"));
    let (mut headers, mut length, mut close) = (String::new(), 0u64, version == "HTTP/1.0");
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
            break;
        }
        let lower = header.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        close |= lower.starts_with("connection:") && lower.contains("close");
        headers.push_str(header.trim_end());
        headers.push('\n');
    }
    io::copy(&mut reader.by_ref().take(length), &mut io::sink())?;
    close |= ENDING.load(Ordering::SeqCst);
    let (code, body) = answer(uri, stream, &headers);
    let connection = if close { "close" } else { "keep-alive" };
    let head = format!(
        "HTTP/1.1 {code}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n",
        body.len()
    );
    stream.write_all([head.as_bytes(), body.as_bytes()].concat().as_slice())?;
    Ok(!close)
}

fn answer(uri: &str, stream: &TcpStream, headers: &str) -> (&'static str, String) {
    let path = uri.split('?').next().unwrap_or(uri);
    if let Some(ms) = path.strip_prefix("/slow/").and_then(|ms| ms.parse().ok()) {
        thread::sleep(Duration::from_millis(ms));
    }
    if let Some(code) = path.strip_prefix("/exit/").and_then(|code| code.parse().ok()) {
        exit(code);
    }
    match path {
        "/healthz" => return ("200 OK", "ok\n".to_owned()),
        "/ready/on" => READY.store(true, Ordering::SeqCst),
        "/ready/off" => READY.store(false, Ordering::SeqCst),
        "/readyz" if !READY.load(Ordering::SeqCst) => return ("503 Service Unavailable", "not ready\n".to_owned()),
        "/readyz" => return ("200 OK", "ready\n".to_owned()),
        _ => {}
    }
    let address = |a: io::Result<std::net::SocketAddr>| a.map(|a| a.to_string()).unwrap_or_default();
    let body = format!(
        "server {}\nhost {}\nclient {}\nuri {uri}\n{headers}",
        address(stream.local_addr()),
        hostname(),
        address(stream.peer_addr())
    );
    ("200 OK", body)
}

fn get(url: &str) {
    let rest = url.strip_prefix("http://").unwrap_or(url);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let address = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    let fetched = TcpStream::connect(&address).and_then(|mut stream| {
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(stream, "GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    });
    match fetched {
        Ok(text) => {
            let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
            print!("{body}");
            exit(i32::from(!head.contains(" 200 ")));
        }
        Err(error) => {
            eprintln!("demo: {address}: {error}");
            exit(1);
        }
    }
}
