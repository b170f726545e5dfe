;; How js/text.ts turns the text of `asText` in js/rewrite.mjs into bytes: in place, since no byte needs less than a character.
;; The same loop in JavaScript, which a page runs once and so before anything has compiled it, takes five times as long.
(module
  (memory (export "memory") 1)

  ;; From the characters at 0 to $end. Answers how many bytes they were, which then begin at 0.
  (func (export "decode") (param $end i32) (result i32)
    (local $from i32)
    (local $to i32)
    (local $digit i32)
    ;; 90 or 180 where the digit before said so.
    (local $base i32)
    (block $done
      (loop $next
        (br_if $done (i32.eq (local.get $from) (local.get $end)))
        (local.set $digit (i32.load8_u (local.get $from)))
        (local.set $from (i32.add (local.get $from) (i32.const 1)))
        ;; `<` and the backslash, which would need care in a page and in a string, are 32 and 33 instead.
        (if (i32.eq (local.get $digit) (i32.const 32)) (then (local.set $digit (i32.const 60))))
        (if (i32.eq (local.get $digit) (i32.const 33)) (then (local.set $digit (i32.const 92))))
        (local.set $digit (i32.sub (local.get $digit) (i32.const 35)))
        (if (i32.lt_u (local.get $digit) (i32.const 90))
          (then
            (i32.store8 (local.get $to) (i32.add (local.get $base) (local.get $digit)))
            (local.set $to (i32.add (local.get $to) (i32.const 1)))
            (local.set $base (i32.const 0)))
          (else
            (local.set $base (i32.mul (i32.sub (local.get $digit) (i32.const 89)) (i32.const 90)))))
        (br $next)))
    (local.get $to)))
