-- JSON Web Tokens in plain SQL: sign() and verify() with the signatures users of pgjwt know.
-- Needs pgcrypto in the same schema.
\echo Use "create extension pgjwt" to load this file. \quit

create function @extschema@.url_encode(data bytea) returns text
  language sql immutable strict parallel safe
  return rtrim(translate(encode(data, 'base64'), E'+/\n', '-_'), '=');

create function @extschema@.url_decode(data text) returns bytea
  language sql immutable strict parallel safe
  return decode(rpad(translate(data, '-_', '+/'), 4 * ((length(data) + 3) / 4), '='), 'base64');

create function @extschema@.algorithm_sign(signables text, secret text, algorithm text) returns text
  language sql immutable parallel safe
  as $$
    select @extschema@.url_encode(@extschema@.hmac(
      convert_to(signables, 'UTF8'),
      convert_to(secret, 'UTF8'),
      case algorithm
        when 'HS256' then 'sha256'
        when 'HS384' then 'sha384'
        when 'HS512' then 'sha512'
        else ''  -- hmac() refuses it
      end))
  $$;

create function @extschema@.sign(payload json, secret text, algorithm text default 'HS256') returns text
  language sql immutable parallel safe
  as $$
    with parts as (
      select @extschema@.url_encode(convert_to(
               json_build_object('alg', algorithm, 'typ', 'JWT')::text, 'UTF8'))
             || '.' || @extschema@.url_encode(convert_to(payload::text, 'UTF8')) as signables)
    select signables || '.' || @extschema@.algorithm_sign(signables, secret, algorithm) from parts
  $$;

-- A claim that is no number counts as absent, as RFC 7519 leaves such tokens undefined.
create function @extschema@.try_cast_double(inp text) returns double precision
  language plpgsql immutable parallel safe
  as $$
    begin
      return inp::double precision;
    exception when invalid_text_representation or numeric_value_out_of_range then
      return null;
    end
  $$;

create function @extschema@.verify(token text, secret text, algorithm text default 'HS256')
  returns table (header json, payload json, valid boolean)
  language sql stable parallel safe
  as $$
    with parts as (select string_to_array(token, '.') as p),
    decoded as (
      select convert_from(@extschema@.url_decode(p[1]), 'UTF8')::json as header,
             convert_from(@extschema@.url_decode(p[2]), 'UTF8')::json as payload,
             p[3] = @extschema@.algorithm_sign(p[1] || '.' || p[2], secret, algorithm)
               and cardinality(p) = 3 as signed
      from parts)
    select header, payload,
           coalesce(signed and header ->> 'alg' = algorithm, false)
             and extract(epoch from now()) >= coalesce(@extschema@.try_cast_double(payload ->> 'nbf'), '-infinity')
             and extract(epoch from now()) < coalesce(@extschema@.try_cast_double(payload ->> 'exp'), 'infinity')
    from decoded
  $$;
