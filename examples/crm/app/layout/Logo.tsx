/** A gate with the tide behind it. */
export function Logo({ size = 28 }: { size?: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="8" fill="#17a2a8" />
      <path d="M9 8v10M16 8v10M23 8v10" stroke="#fff" strokeWidth="2.5" strokeLinecap="round" />
      <path
        d="M4 22c2.5-2.4 5.5-2.4 8 0s5.5 2.4 8 0 5.5-2.4 8 0"
        fill="none"
        stroke="#06232f"
        strokeWidth="2.5"
        strokeLinecap="round"
      />
    </svg>
  );
}
