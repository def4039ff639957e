defmodule Erluv.MixProject do
  use Mix.Project

  # The sources are Erlang; nothing is fetched. `mix test` needs a daemon that serves the node it runs on:
  # tests/otp_app.sh starts one.
  def project do
    [
      app: :erluv,
      version: "0.1.0",
      elixir: "~> 1.14",
      language: :erlang,
      description: "Runs processes of the operating system through erluv, the daemon",
      erlc_options: [:debug_info, :warnings_as_errors, :warn_missing_spec],
      test_paths: ["test"],
      deps: []
    ]
  end

  # The settings are those of src/erluv.app.src.
  def application do
    {:ok, [{:application, :erluv, keys}]} = :file.consult("src/erluv.app.src")
    [mod: keys[:mod], registered: keys[:registered], env: keys[:env]]
  end
end
