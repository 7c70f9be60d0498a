json_array(t.run_id, t.step, t.item, t.attempt, t.queue, t.input, (
    select json_array(workflow, version, no_cache, depth, priority, case when octet_length(inputs) <= 512 then inputs end)
    from runs where id = t.run_id
), t.memory_bytes)
