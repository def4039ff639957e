defmodule ErluvTest do
  use ExUnit.Case

  # The streams of README.md: a lazy enumerable of what a command writes, in bounded memory.
  defp lines(cmd, opts \\ []) do
    Stream.resource(
      fn ->
        {:ok, stream} = :erluv.stream(cmd, opts)
        stream
      end,
      fn stream ->
        case :erluv.read(stream, :infinity) do
          {:stdout, data} -> {[data], stream}
          {:stderr, data} -> {[data], stream}
          {:eof, :normal} -> {:halt, stream}
          {:eof, reason} -> raise "the command ended: #{inspect(reason)}"
        end
      end,
      &:erluv.close/1
    )
  end

  test "a command and its output" do
    assert {:ok, [stdout: ["hello\n"]]} = :erluv.run(["/bin/echo", "hello"], [:sync, :stdout])
    assert {:error, [exit_status: 768]} = :erluv.run("exit 3", [:sync])
    assert {:status, 3} = :erluv.status(768)
  end

  test "output and the end are messages" do
    {:ok, pid, os_pid} = :erluv.run("cat", [:stdin, :stdout, :monitor, env: [{"PATH", "/usr/bin:/bin"}]])
    :ok = :erluv.send(pid, "hello")
    assert_receive {:stdout, ^os_pid, "hello"}, 5000
    :ok = :erluv.send(pid, :eof)
    assert_receive {:DOWN, ^os_pid, :process, ^pid, :normal}, 5000
  end

  test "a stream is lazy and ends with its worker" do
    assert 3_000_000 = lines(["head", "-c", "3000000", "/dev/zero"]) |> Stream.map(&byte_size/1) |> Enum.sum()
    assert [<<"y\n", _::binary>>] = lines(["yes"], window: 4096) |> Enum.take(1)
    assert_raise RuntimeError, ~r/exited/, fn -> lines("exit 2") |> Enum.to_list() end
    assert {:messages, []} = Process.info(self(), :messages)
  end

  test "a stream into a file" do
    path = Path.join(System.tmp_dir!(), "erluv-#{System.pid()}")
    on_exit(fn -> File.rm(path) end)
    lines(["head", "-c", "1000000", "/dev/zero"], lines: 65536) |> Enum.into(File.stream!(path))
    assert File.stat!(path).size == 1_000_000
  end

  test "a supervised worker" do
    child = :erluv.child_spec(%{id: :sleeper, cmd: ["sleep", "1000"], restart: :permanent})
    {:ok, supervisor} = Supervisor.start_link([child], strategy: :one_for_one)
    [{:sleeper, first, :worker, _}] = Supervisor.which_children(supervisor)
    {:ok, pid, os_pid} = :erluv.worker(first)
    assert %{active: 1} = Supervisor.count_children(supervisor)
    ref = Process.monitor(first)
    Process.exit(pid, :kill)
    assert_receive {:DOWN, ^ref, :process, ^first, {:signaled, :sigkill}}, 5000
    assert again(supervisor, os_pid)
    :ok = Supervisor.stop(supervisor)
    refute os_pid in :erluv.which_children()
  end

  defp again(supervisor, os_pid) do
    Enum.any?(1..100, fn _ ->
      Process.sleep(50)

      with [{:sleeper, child, _, _}] when is_pid(child) <- Supervisor.which_children(supervisor),
           {:ok, _, other} <- :erluv.worker(child) do
        other != os_pid
      else
        _ -> false
      end
    end)
  end

  test "a terminal" do
    {:ok, pid, os_pid} = :erluv.run("stty size; read x; echo $x", [:stdin, :stdout, :pty, :monitor, winsz: {24, 80}])
    assert_receive {:stdout, ^os_pid, "24 80\r\n"}, 5000
    :ok = :erluv.send(pid, "typed\n")
    assert_receive {:DOWN, ^os_pid, :process, ^pid, :normal}, 5000
    assert_received {:stdout, ^os_pid, "typed\r\n"}
  end
end
