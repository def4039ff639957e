{:ok, _} = Application.ensure_all_started(:erluv)
{:ok, _} = :erluv_choose.node(:default, 20_000)
ExUnit.start()
