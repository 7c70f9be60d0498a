json_array(run_id, step, item, attempt, queue, input, (
    select json_array(workflow, version, no_cache, depth, priority, case when octet_length(inputs) <= 512 then inputs end)
    from runs where id = run_id
), memory_bytes)
