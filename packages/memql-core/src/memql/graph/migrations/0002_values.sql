-- What stored values mean to filters, sorting and templates: the same two-valued semantics as in process.
-- Every function takes any stored value, gives null for one it does not understand, and never fails.

-- The number a value is, or null.
CREATE OR REPLACE FUNCTION memql_number(value jsonb) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN jsonb_typeof(value) = 'number' THEN value::numeric END;

-- The text a value is, or null.
CREATE OR REPLACE FUNCTION memql_string(value jsonb) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN jsonb_typeof(value) = 'string' THEN value #>> '{}' END;

-- The value, with a JSON null as null.
CREATE OR REPLACE FUNCTION memql_given(value jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN NULLIF(value, 'null'::jsonb);

-- The elements of a list, none for anything else; for set-returning use.
CREATE OR REPLACE FUNCTION memql_list(value jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN jsonb_typeof(value) = 'array' THEN value ELSE '[]'::jsonb END;

-- The moment an RFC 3339 text names (a plain date is its midnight UTC), or null. With an explicit offset the cast
-- depends on no setting. The usual form in UTC is recognised without a regular expression, which costs more than all
-- the rest; the cast alone would accept hour 24 and second 60.
CREATE OR REPLACE FUNCTION memql_instant(value text) RETURNS timestamptz
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF (CASE translate(value, '0123456789', '')
        WHEN '--T::Z' THEN length(value) = 20 AND value LIKE '____-__-__T__:__:__Z'
        WHEN '--T::.Z' THEN length(value) > 21 AND value LIKE '____-__-__T__:__:__.%Z'
        WHEN '--' THEN FALSE
        ELSE value ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})$'
    END) THEN
        RETURN CASE
            WHEN substr(value, 12, 2) < '24' AND substr(value, 18, 2) < '60' AND pg_input_is_valid(value, 'timestamptz')
            THEN value::timestamptz
        END;
    ELSIF value ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}$' AND pg_input_is_valid(value, 'date') THEN
        RETURN (value || 'T00:00:00Z')::timestamptz;
    END IF;
    RETURN NULL;
END
$$;

-- Negative, zero or positive as left is below, equal to or above right; null when they cannot be ordered.
CREATE OR REPLACE FUNCTION memql_order(first jsonb, second jsonb) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN jsonb_typeof(first) = 'number' AND jsonb_typeof(second) = 'number'
        THEN CASE
            WHEN first::numeric < second::numeric THEN -1
            WHEN first::numeric = second::numeric THEN 0
            ELSE 1
        END
    WHEN jsonb_typeof(first) = 'string' AND jsonb_typeof(second) = 'string'
        THEN CASE
            WHEN (first #>> '{}') COLLATE "C" < (second #>> '{}') COLLATE "C" THEN -1
            WHEN (first #>> '{}') COLLATE "C" = (second #>> '{}') COLLATE "C" THEN 0
            ELSE 1
        END
END;

-- The same for values of which one is declared a date-time.
CREATE OR REPLACE FUNCTION memql_order_instants(first jsonb, second jsonb) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN jsonb_typeof(first) = 'number' AND jsonb_typeof(second) = 'number'
        THEN CASE
            WHEN first::numeric < second::numeric THEN -1
            WHEN first::numeric = second::numeric THEN 0
            ELSE 1
        END
    WHEN memql_instant(memql_string(first)) < memql_instant(memql_string(second)) THEN -1
    WHEN memql_instant(memql_string(first)) = memql_instant(memql_string(second)) THEN 0
    WHEN memql_instant(memql_string(first)) > memql_instant(memql_string(second)) THEN 1
END;

-- Equality: deep, type-strict, null equal only to null.
CREATE OR REPLACE FUNCTION memql_equal(first jsonb, second jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN memql_given(first) IS NOT DISTINCT FROM memql_given(second);

-- The same where one side is declared a date-time: as moments if both are.
CREATE OR REPLACE FUNCTION memql_equal_instants(first jsonb, second jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN memql_equal(first, second)
    OR coalesce(memql_instant(memql_string(first)) = memql_instant(memql_string(second)), false);

-- Whether a list holds a value.
CREATE OR REPLACE FUNCTION memql_has(items jsonb, value jsonb, instants boolean) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN EXISTS (
    SELECT FROM jsonb_array_elements(memql_list(items)) AS item(value)
    WHERE CASE WHEN instants THEN memql_equal_instants(item.value, memql_has.value)
               ELSE memql_equal(item.value, memql_has.value) END
);

-- Whether a value, or any element of it if it is a list, is one of the options.
CREATE OR REPLACE FUNCTION memql_in(value jsonb, options jsonb, instants boolean) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN jsonb_typeof(value) = 'array' THEN EXISTS (
        SELECT FROM jsonb_array_elements(value) AS item(value) WHERE memql_has(options, item.value, instants)
    )
    ELSE memql_has(options, value, instants)
END;

-- What stands at a position of a list or under a key of an object; null when nothing does.
CREATE OR REPLACE FUNCTION memql_at(value jsonb, place jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN memql_given(CASE
    WHEN jsonb_typeof(place) = 'string' THEN value -> (place #>> '{}')
    WHEN jsonb_typeof(place) = 'number' AND place::numeric BETWEEN 0 AND 2147483647
        AND scale(place::numeric) = 0
        THEN value #> ARRAY[place #>> '{}']
END);

-- Whether a value is null or text of nothing but blanks.
CREATE OR REPLACE FUNCTION memql_blank(value jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN value IS NULL OR value = 'null'::jsonb
    OR (jsonb_typeof(value) = 'string' AND btrim(value #>> '{}', E' \t\n\r\f\v') = '');

-- Arithmetic in doubles, where the result may leave their range; null where it does.
CREATE OR REPLACE FUNCTION memql_double(operator text, first numeric, second numeric) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    a double precision;
    b double precision;
BEGIN
    a := first::double precision;
    b := second::double precision;
    RETURN CASE operator
        WHEN '+' THEN to_jsonb(a + b)
        WHEN '-' THEN to_jsonb(a - b)
        WHEN '*' THEN to_jsonb(a * b)
        WHEN '/' THEN to_jsonb(a / b)
        WHEN '%' THEN to_jsonb((first - second * trunc(first / second))::double precision)
    END;
EXCEPTION WHEN numeric_value_out_of_range OR division_by_zero THEN
    RETURN NULL;
END
$$;

-- first <operator> second for two numbers: whole numbers stay whole within 64 bits except under division, a zero
-- divisor gives null. Two texts are joined by +. Anything else is null.
CREATE OR REPLACE FUNCTION memql_arithmetic(operator text, first jsonb, second jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    a numeric;
    b numeric;
    result numeric;
BEGIN
    IF jsonb_typeof(first) = 'number' AND jsonb_typeof(second) = 'number' THEN
        a := first::numeric;
        b := second::numeric;
        IF operator IN ('/', '%') AND b = 0 THEN
            RETURN NULL;
        END IF;
        IF operator = '/' OR scale(a) <> 0 OR scale(b) <> 0 OR greatest(abs(a), abs(b)) > 9223372036854775808 THEN
            RETURN memql_double(operator, a, b);
        END IF;
        result := CASE operator WHEN '+' THEN a + b WHEN '-' THEN a - b WHEN '*' THEN a * b WHEN '%' THEN a % b END;
        IF result BETWEEN -9223372036854775808 AND 9223372036854775807 THEN
            RETURN to_jsonb(result);
        END IF;
    ELSIF operator = '+' AND jsonb_typeof(first) = 'string' AND jsonb_typeof(second) = 'string' THEN
        RETURN to_jsonb((first #>> '{}') || (second #>> '{}'));
    END IF;
    RETURN NULL;
END
$$;

-- Whether a text satisfies a web search, over unstemmed words. Of a very long text the beginning is searched: the
-- server refuses to index more than a megabyte.
CREATE OR REPLACE FUNCTION memql_matches(value text, search text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN to_tsvector('pg_catalog.simple'::regconfig, left(value, 200000)) @@ websearch_to_tsquery('pg_catalog.simple'::regconfig, search);
