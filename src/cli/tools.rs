//! The words of `deblast filter` and `deblast signatures`, and what they mean.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};

/// Print the border rules of CA-2003-20 for a packet filter
///
/// The advisory asks to block 69/udp, 135, 139 and 445 over tcp and udp, and 4444/tcp at network borders, in and out
/// where that can be done. The rules go to standard output, complete as they stand; nothing is changed anywhere.
#[derive(Debug, ClapArgs)]
pub(super) struct FilterArgs {
    /// The packet filter's language
    #[arg(long, value_enum)]
    format: Format,
    /// Which way of the traffic is blocked
    #[arg(long, value_enum, default_value_t)]
    direction: Direction,
    /// The interface at the border [default: every one]
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
}

/// The packet filter's language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A file for nft -f
    Nftables,
    /// A file for iptables-restore --noflush, and for ip6tables-restore
    Iptables,
    /// Extended named access lists
    CiscoIos,
    /// Rules for pf, of OpenBSD, FreeBSD and macOS
    Pf,
    /// A batch file of netsh ipsec, for Windows Server 2003
    Netsh,
    /// A batch file of ipsecpol, for Windows 2000 (and XP, with ipseccmd)
    Ipsecpol,
}

/// Which way of the traffic is blocked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Direction {
    /// Both
    #[default]
    Both,
    /// Inbound
    In,
    /// Outbound
    Out,
}

/// What `deblast filter` is to print.
#[derive(Debug)]
pub struct FilterTask {
    /// The packet filter's language.
    pub format: Format,
    /// Which way of the traffic is blocked.
    pub direction: Direction,
    /// The interface at the border; none: every one.
    pub interface: Option<String>,
}

impl FilterArgs {
    pub(super) fn resolve(self) -> FilterTask {
        let Self { format, direction, interface } = self;
        FilterTask { format, direction, interface }
    }
}

const EXIT_CODES: &str =
    "Exit codes: 0 listed, or nothing wrong; 1 problems found; 2 unreadable, or wrong usage.";

/// List what is known of worms, or check a file of signatures before it is used
#[derive(Debug, ClapArgs)]
#[command(after_help = EXIT_CODES)]
pub(super) struct SignaturesArgs {
    #[command(subcommand)]
    verb: SignaturesVerb,
}

#[derive(Debug, Subcommand)]
enum SignaturesVerb {
    /// List what is known: names, values, sizes, digests, what they prove, and where each fact comes from
    #[command(after_help = EXIT_CODES)]
    List {
        /// Those of this file too, TOML or a ClamAV hash set (.hdb, .hsb); may be given several times
        #[arg(long, value_name = "FILE")]
        signatures: Vec<PathBuf>,
    },
    /// Tell every problem of a file of signatures, one a line: file, line, words
    ///
    /// TOML, or a ClamAV hash set where the name ends in .hdb or .hsb: a line DIGEST:SIZE:NAME, or DIGEST:*:NAME:73 for
    /// a file of any size, which is looked for under --deep alone. MD5, SHA-1 and SHA-256 are told by their length.
    #[command(after_help = EXIT_CODES)]
    Check {
        /// The files
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
}

/// What `deblast signatures` is to do.
#[derive(Debug)]
pub enum SignaturesTask {
    /// List the builtin ones and those of these files.
    List(Vec<PathBuf>),
    /// Check these files.
    Check(Vec<PathBuf>),
}

impl SignaturesArgs {
    pub(super) fn resolve(self) -> SignaturesTask {
        match self.verb {
            SignaturesVerb::List { signatures } => SignaturesTask::List(signatures),
            SignaturesVerb::Check { files } => SignaturesTask::Check(files),
        }
    }
}
