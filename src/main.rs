//! Parses, dispatches and sets the exit code.

fn main() -> std::process::ExitCode {
    perihelion::command::main(std::env::args_os())
}
