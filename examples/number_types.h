/*
 * number_types.h - the types that numbers have in files of tensors, and what they are as float32
 *
 * Plain numbers, and the blocks of 32 to 256 numbers of GGUF, each decoded as ggml does it, to the last bit (where the
 * compiler keeps to IEEE arithmetic and does not contract products and sums). For graft, the way back to some of them.
 * For tensor_files.h, which includes it. C99 that is also C++11.
 */
#ifndef NUMBER_TYPES_H
#define NUMBER_TYPES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__GNUC__)
#define SHARED static __attribute__((unused))   /* not every program uses every reader */
#else
#define SHARED static
#endif

/* ======================================================================================= */
/* NUMBERS                                                                                 */
/* ======================================================================================= */

static uint32_t get16(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8;
}

static uint32_t get32(const unsigned char *p)
{
    return get16(p) | get16(p + 2) << 16;
}

static uint64_t get64(const unsigned char *p)
{
    return (uint64_t)get32(p) | (uint64_t)get32(p + 4) << 32;
}

static float float_of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t bits_of_float(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

SHARED int is_finite(float value)   /* by its bits: comparisons would vanish under -ffast-math */
{
    return (bits_of_float(value) & 0x7f800000u) != 0x7f800000u;
}

static float half_to_float(uint32_t half)
{
    const uint32_t sign = (half & 0x8000u) << 16, exponent = half >> 10 & 31u, rest = half & 1023u;

    if (exponent == 0)   /* zero and subnormal: rest * 2^-24 */
        return (sign ? -1.0f : 1.0f) * (float)rest * (1.0f / 16777216.0f);
    if (exponent == 31)
        return float_of_bits(sign | 0x7f800000u | rest << 13);
    return float_of_bits(sign | (exponent + 112) << 23 | rest << 13);
}

static uint32_t float_to_half(float value)   /* rounded to even; beyond its range infinite */
{
    const uint32_t bits = bits_of_float(value), sign = bits >> 16 & 0x8000u, size = bits & 0x7fffffffu;
    const uint32_t exponent = size >> 23, shift = exponent >= 113 ? 13 : 126 - exponent;
    uint32_t whole, rest, half;

    if (size >= 0x47800000u)
        return sign | 0x7c00u | (size > 0x7f800000u ? 0x200u : 0u);
    if (exponent < 102)
        return sign;
    if (exponent < 113)   /* subnormal */
        whole = (size & 0x7fffffu) | 0x800000u;
    else
        whole = size - (112u << 23);
    half = whole >> shift;
    rest = whole & ((1u << shift) - 1);
    half += rest > 1u << (shift - 1) || (rest == 1u << (shift - 1) && (half & 1u));
    return sign | half;
}

static uint32_t float_to_bf16(float value)   /* the same, of a finite number */
{
    const uint32_t bits = bits_of_float(value);
    return (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
}

/* ======================================================================================= */
/* TYPES                                                                                   */
/* ======================================================================================= */

/* As in the table below; tensor_numbers reads those before TENSOR_READABLE, of the others only the
   size is known. */
typedef enum {
    TENSOR_F32, TENSOR_F16, TENSOR_BF16, TENSOR_F64, TENSOR_I8, TENSOR_F8_E4M3, TENSOR_F8_E5M2,
    TENSOR_Q8_0, TENSOR_Q4_0, TENSOR_Q4_1, TENSOR_Q5_0, TENSOR_Q5_1, TENSOR_IQ4_NL, TENSOR_MXFP4, TENSOR_NVFP4,
    TENSOR_Q1_0, TENSOR_Q2_0, TENSOR_Q2_K, TENSOR_Q3_K, TENSOR_Q4_K, TENSOR_Q5_K, TENSOR_Q6_K, TENSOR_IQ4_XS,
    TENSOR_IQ3_S, TENSOR_IQ3_XXS, TENSOR_IQ2_S, TENSOR_IQ2_XS, TENSOR_IQ2_XXS, TENSOR_IQ1_M, TENSOR_IQ1_S,
    TENSOR_TQ1_0, TENSOR_TQ2_0, TENSOR_READABLE, TENSOR_I32 = TENSOR_READABLE, TENSOR_I64
} tensor_type;

typedef struct {
    const char *name;
    int gguf;                /* its number there; -1: safetensors only */
    uint32_t numbers, size;  /* of a block: numbers, bytes */
} tensor_kind;

static const tensor_kind tensor_kinds[] = {
    {"F32", 0, 1, 4}, {"F16", 1, 1, 2}, {"BF16", 30, 1, 2}, {"F64", 28, 1, 8}, {"I8", 24, 1, 1},
    {"F8_E4M3", -1, 1, 1}, {"F8_E5M2", -1, 1, 1},
    {"Q8_0", 8, 32, 34}, {"Q4_0", 2, 32, 18}, {"Q4_1", 3, 32, 20}, {"Q5_0", 6, 32, 22}, {"Q5_1", 7, 32, 24},
    {"IQ4_NL", 20, 32, 18}, {"MXFP4", 39, 32, 17}, {"NVFP4", 40, 64, 36}, {"Q1_0", 41, 128, 18}, {"Q2_0", 42, 64, 18},
    {"Q2_K", 10, 256, 84}, {"Q3_K", 11, 256, 110}, {"Q4_K", 12, 256, 144}, {"Q5_K", 13, 256, 176},
    {"Q6_K", 14, 256, 210}, {"IQ4_XS", 23, 256, 136}, {"IQ3_S", 21, 256, 110}, {"IQ3_XXS", 18, 256, 98},
    {"IQ2_S", 22, 256, 82}, {"IQ2_XS", 17, 256, 74}, {"IQ2_XXS", 16, 256, 66}, {"IQ1_M", 29, 256, 56},
    {"IQ1_S", 19, 256, 50}, {"TQ1_0", 34, 256, 54}, {"TQ2_0", 35, 256, 66},
    /* not read */
    {"I32", 26, 1, 4}, {"I64", 27, 1, 8}, {"I16", 25, 1, 2}, {"Q8_1", 9, 32, 36}, {"Q8_K", 15, 256, 292},
    {"U8", -1, 1, 1}, {"U16", -1, 1, 2}, {"U32", -1, 1, 4}, {"U64", -1, 1, 8}, {"BOOL", -1, 1, 1}
};
enum { TENSOR_KINDS = (int)(sizeof tensor_kinds / sizeof *tensor_kinds) };

/* ======================================================================================= */
/* BLOCKS                                                                                  */
/* ======================================================================================= */

static int signed_byte(int byte)
{
    return (byte ^ 128) - 128;
}

static const signed char iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
static const signed char fp4_values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};   /* doubled */

/* 32 numbers of 4 or 5 bits with a scale and, in the kinds that end in 1, a least value. */
static void block_of_32(int type, const unsigned char *p, float *out)
{
    const int five = type == TENSOR_Q5_0 || type == TENSOR_Q5_1;
    const int based = type == TENSOR_Q4_1 || type == TENSOR_Q5_1;
    const float scale = half_to_float(get16(p)), least = based ? half_to_float(get16(p + 2)) : 0.0f;
    const unsigned char *top = p + (based ? 4 : 2), *codes = five ? top + 4 : top;
    const uint32_t tops = five ? get32(top) : 0;
    const int middle = based ? 0 : five ? 16 : 8;
    int i;

    for (i = 0; i < 32; i++) {
        const int low = i < 16 ? codes[i] & 15 : codes[i - 16] >> 4;
        const int code = low + (int)(tops >> i & 1u) * 16;
        const int value = type == TENSOR_IQ4_NL ? iq4_values[code] : code - middle;
        out[i] = based ? (float)value * scale + least : (float)value * scale;
    }
}

/* 16 or 32 numbers of 4 bits, half of them in the low bits. */
static void block_of_fp4(float scale, const unsigned char *codes, int numbers, float *out)
{
    int i;

    for (i = 0; i < numbers; i++)
        out[i] = scale * (float)fp4_values[i < numbers / 2 ? codes[i] & 15 : codes[i - numbers / 2] >> 4];
}

static float e4m3_size(int byte)   /* of 8 bits, without the sign */
{
    const int exponent = byte >> 3 & 15, rest = byte & 7;
    return exponent == 0 ? (float)rest * (1.0f / 512.0f)
                         : float_of_bits((uint32_t)(exponent + 120) << 23 | (uint32_t)rest << 20);
}

static float e4m3_to_float(int byte)   /* without infinities; all bits set is no number */
{
    const float size = (byte & 127) == 127 ? float_of_bits(0x7fc00000u) : e4m3_size(byte);
    return byte & 128 ? -size : size;
}

/* MXFP4: a power of two; NVFP4: scales of 8 bits for each 16. Both are halved, as the values are doubled. */
static void blocks_of_fp4(int type, const unsigned char *p, float *out)
{
    int part;

    if (type == TENSOR_MXFP4)
        block_of_fp4(float_of_bits(p[0] < 2 ? 0x200000u << p[0] : (uint32_t)(p[0] - 1) << 23), p + 1, 32, out);
    for (part = 0; part < 4 && type == TENSOR_NVFP4; part++)
        block_of_fp4(p[part] == 127 ? 0.0f : 0.5f * e4m3_size(p[part]), p + 4 + 8 * part, 16, out + 16 * part);
}

/* 128 numbers of 1 bit, or 64 of 2 bits, or 256 of TQ2_0 and TQ1_0: -1, 0, 1 (or 2) times a scale. */
static void block_of_signs(int type, const unsigned char *p, float *out)
{
    static const int powers[5] = {1, 3, 9, 27, 81};
    const float scale = half_to_float(get16(p + (type == TENSOR_TQ2_0 ? 64 : type == TENSOR_TQ1_0 ? 52 : 0)));
    int i;

    for (i = 0; i < 128 && type == TENSOR_Q1_0; i++)
        out[i] = p[2 + i / 8] >> i % 8 & 1 ? scale : -scale;
    for (i = 0; i < 64 && type == TENSOR_Q2_0; i++)
        out[i] = scale * (float)((p[2 + i / 4] >> 2 * (i % 4) & 3) - 1);
    for (i = 0; i < 256 && type == TENSOR_TQ2_0; i++)
        out[i] = scale * (float)((p[i / 128 * 32 + i % 32] >> 2 * (i / 32 % 4) & 3) - 1);
    for (i = 0; i < 256 && type == TENSOR_TQ1_0; i++) {   /* five digits of base 3 a byte */
        const int byte = i < 160 ? p[i % 32] : i < 240 ? p[32 + i % 16] : p[48 + i % 4];
        const int digit = i < 160 ? i / 32 : i < 240 ? (i - 160) / 16 : (i - 240) / 4;
        out[i] = scale * (float)(((byte * powers[digit] & 255) * 3 >> 8) - 1);
    }
}

/* 256 numbers of 2 bits: sixteen groups, each with a scale and a least value of 4 bits. */
static void block_of_q2(const unsigned char *p, float *out)
{
    const float scale = half_to_float(get16(p + 80)), least = half_to_float(get16(p + 82));
    int i;

    for (i = 0; i < 256; i++) {
        const int code = p[16 + i / 128 * 32 + i % 32] >> 2 * (i / 32 % 4) & 3, group = p[i / 16];
        out[i] = scale * (float)(group & 15) * (float)code - least * (float)(group >> 4);
    }
}

/* 256 numbers of 3 bits: sixteen groups, each with a signed scale of 6 bits. */
static void block_of_q3(const unsigned char *p, float *out)
{
    const unsigned char *codes = p + 32, *s = p + 96;
    const float scale = half_to_float(get16(p + 108));
    int i;

    for (i = 0; i < 256; i++) {
        const int g = i / 16, low = g < 8 ? s[g] & 15 : s[g - 8] >> 4, high = s[8 + g % 4] >> 2 * (g / 4) & 3;
        const int code = (codes[i / 128 * 32 + i % 32] >> 2 * (i / 32 % 4) & 3) - (p[i % 32] >> i / 32 & 1 ? 0 : 4);
        out[i] = scale * (float)((low | high << 4) - 32) * (float)code;
    }
}

/* 256 numbers of 4 or 5 bits: eight groups, each with a scale and a least value of 6 bits. */
static void block_of_q4_q5(int type, const unsigned char *p, float *out)
{
    const float scale = half_to_float(get16(p)), least = half_to_float(get16(p + 2));
    const unsigned char *s = p + 4, *top = p + 16, *codes = type == TENSOR_Q5_K ? p + 48 : p + 16;
    int group, i;

    for (group = 0; group < 8; group++) {
        const int late = group >= 4;
        const int a = late ? (s[group + 4] & 15) | (s[group - 4] >> 6) << 4 : s[group] & 63;
        const int b = late ? s[group + 4] >> 4 | (s[group] >> 6) << 4 : s[group + 4] & 63;
        for (i = 0; i < 32; i++) {
            const int byte = codes[group / 2 * 32 + i];
            const int high = type == TENSOR_Q5_K ? (top[i] >> group & 1) * 16 : 0;
            const int code = (group & 1 ? byte >> 4 : byte & 15) + high;
            out[group * 32 + i] = scale * (float)a * (float)code - least * (float)b;
        }
    }
}

/* 256 numbers of 6 bits: sixteen groups, each with a signed scale. */
static void block_of_q6(const unsigned char *p, float *out)
{
    const unsigned char *low = p, *high = p + 128, *scales = p + 192;
    const float scale = half_to_float(get16(p + 208));
    int i;

    for (i = 0; i < 256; i++) {
        const int half = i / 128, quarter = i / 32 % 4, at = i % 32;
        const int byte = low[half * 64 + quarter % 2 * 32 + at];
        const int bits = high[half * 32 + at] >> (2 * quarter) & 3;
        const int code = (quarter < 2 ? byte & 15 : byte >> 4) + bits * 16 - 32;
        out[i] = scale * (float)signed_byte(scales[i / 16]) * (float)code;
    }
}

/* 256 numbers of 4 bits in the steps of IQ4_NL: eight groups, each with a signed scale of 6 bits. */
static void block_of_iq4(const unsigned char *p, float *out)
{
    const float scale = half_to_float(get16(p));
    const uint32_t highs = get16(p + 2);
    int i;

    for (i = 0; i < 256; i++) {
        const int g = i / 32, low = p[4 + g / 2] >> 4 * (g % 2) & 15, high = (int)(highs >> 2 * g & 3u);
        const int byte = p[8 + 16 * g + i % 16];
        out[i] = scale * (float)((low | high << 4) - 32) * (float)iq4_values[i % 32 < 16 ? byte & 15 : byte >> 4];
    }
}

/* The vectors of 8 (or, of IQ3, 4) numbers out of which the types IQ1 to IQ3 take theirs: in ascending order as digits
   of base 3 (IQ3: 8), the first digit the least; a character is the difference to the one before, '~' adds 91. */
enum { GRID_IQ2_XXS, GRID_IQ2_XS, GRID_IQ2_S, GRID_IQ3_XXS, GRID_IQ3_S, GRID_IQ1, GRIDS };
static const char *const grid_text[GRIDS] = {
    "#%%%%%%)%'%%%))'%)%)/+%)'1A//%5G=%)-%)%'/-%)/)%'/17%-;%5A5)'%)/'%)%9;;[-i%)-+5/)'1)/5+-S-U)/'/7MCE1g%)5 ='gQ"
    "O%)93+%U+S%s%)51K 7~(;/S~FW%))'%))+'-%)55 +';+;+-A)/G39-_u%)5'UM'-[C5)')%G);=Qis%;mIM-)C__q)5;AK[AG'y%Q~N~~C"
    "%)7  //ck%)'15GCE975Iu{m)/)Q9K]U7-{~|O~ZE9Am~(~~uS",
    "#%%%%%%%%%%%%'%%%%%%%'%)%%%'%'%-%%%%%%%%%%)%%%'%))'%)5%%%'%)-%)'1+7%%%%%%%'%)%%%'%%'-%)5%%%'%)-%)-+ %)1'% ;%"
    "%%%%%)')%))/5+%%)5 )75)O'-%%%%%%%'%)%%%'%)+%%)5%%%'%)-%)5/%1%%'55G%%%'%)-%'%/) %)5Y/9S%)%3/79'QgM%%%%%%%)-%)"
    "55-%)5)3C7E;'%)3%Y -C/3_')%-971]/;/I'%7%%%%%%%'%)%%%%%%)')%)5%%%'%)-%)5'3+%)%1%Y%%%'%'%-%)5/3%)/)O-+9)Q%)5'+"
    "+E-7)3Cq%%%'%))'%)5 %)'1%WAU%%)-+5-5+)S)KC9+/3+E -%~6;%)5/+/7%~.1A31o5'O{WUcE+E%%%'%)+%%)5%9%%%%'5-)I5G%3)'%"
    ")%%1537AQ7I )39-%9+~(E)+-'%)513;7 m77'=))cI%O}KI_CG%'%-+QQ)E'%'7 5GK~X77-%'S))Y%Q%I3",
    "#%%%%%%%%%%%%'%%%%%%%'%%%%%%%'%)''%%%%%%%%'%)%%%'%%%%'%'%)%%)%)%%%'%)+%%%%%'1'''++%%%%%%%'%%%%%%%%%%%%%%%)%%"
    "%%'%'%)%%%%%%%%%'%'%%%%%%%'%)%%%'%)-%%%%'1'%'%)-%)5%%%'%%%%''%%%%%%%%'%)'+1%%)%%%'+'%'%)-+5-%+'%-E/%%%%%%%'%"
    "%'%%%'%%%%%%%'%%''%'%)%%%%%%%%%%%%'%%%%%%%'%)%%%'%3%'%')%)')%3%)5%%%'%%%%'%'%%%%%%%'%)%%%'%)-%%%%%%%'%)%%%'%"
    ")-%)5'%'%)-%)5=%%%%%'%'+%%%'%)-%;%%%'%)-%)39-)51K%%%'%%%%''%%)%%+)+'1%%)%%)+%%)%)-%)5+/'%');%3'%%%%'%'%)%%%'"
    "%)-%)5'%'%)-%)1' %)53I')%3%)=5%%)]9/ /%7%%%%%%%%%%%'%%%%%%%%%%%)%)'%'%)%%%'%%%%%%)%%%%%%%'%)%%%'%)-%)%%%))'%"
    "'%)-%;%%%%%%%%%%%%'%%%%%%%'%)%%%'%)-%%%%%%%'%)%%%'%)+%%)5%%%'%)-%)59)%'%%%%'%)%%%'%)/)5%%%'%)-%)511%)5Y%%%'%"
    "%%%%%%'%%%%%%%'%)%%%'%3%%%%%%%'%)%%%'%)-%)5'%'%)-%)3% %%%%%%%'%)%%%'%)-%)5%%%'%)-%)5 %)1'Y%%%'%)-%)+- %)5Y3M"
    "7'%%'%%%'%)'%'%)/)5%%%'%)-%)531)51C+'%'%)-%)5 %)5+313e3%)K7/=wO+%%%'%'%')%)%%%'+')%3%'%%%%'%)%%%'%3%)3%''%%3"
    "%)Q%%%%%%%'+%%%'%)-%)5%%%'%)-%)5+7%)3%Y')%3%)I+%;9W9%/5+%'%%%%))%%%'%)-%)5')%3%)+I%)5U'%%%'%)-%)511%)5M'+C3E"
    "%)1'W%E'~25'''+)%%)I) 9E)/'%A'%3'%)5E1)3~.W3UQ7 %-%'G7",
    "#%%(%'$%*,<%'%(%*'&%*./+%%(*%*%'-)1')$%.F67(./%')63V:7'%813%(%*%(%%.$;%**%R%(%**E)%1,03.'FK'56/p1C%*%(%'&,B%"
    "%&%**>'$+%*)$%0$07*'O'D1;7->h%.: *%*%80()%1,.%>%(08325`26))/>B58K87.1%/'p72$3)4ABH.D18p&%1U::+)3:B1C+L@.'F+:"
    "rO1U3%1@CAHG)iDHTK1U%%$53O-M>(9018D3B%5g",
    "#$$&%$$$%%%$')(%&%%%(%*&&$$$%'$'&&'%'*0'()$'%$&&&'&')&%%%0&+)'&%*%&)'%0%'&.'%&))&)2-%/%'()'%2(.&%142*%%/%'(0"
    "'7$$%'$%%%$%*&%1%&,)$%&%'(*&)*%1)%-&%$'))&-&-*&&$&))$'(4).%(%0%*'%'8*&)*%2J'&0%>%(%*/'4)+$%%%$%%%&%'$%*%%&%0"
    "$&%&%)&'&&'&)*;&&-%(*%-'-&'%&',%(%*)1.),&*&'<&*(,0$.0+%(- '7'0%.(=*%%%&*%%(%&%-)+%%*(%03-'%-)-%/<*'(%'$,%')1"
    "+)('*4)'0*%.(--066C%0%.F'))'&&**3-(%%*)())'7%(('-(2&)/(%(%*'F%5.$</%-D<47;(..)<)')1'&&/)(%%(*,C),-()0:($20(/"
    "))&/-/G/6%ZC%1Z%%/%833*@95).()+/(2X121&<78>L%X'&,%/%/)3*.2% &')&*4<;&19')(;M3C:J",
    "#%%%%%&(%'%()%%+(%'%((%'%'$)%%%$()'%'%'%%%$*)%%+(%'%((%'%())('%%'%%&&%%'%.%%+)))''$2)))%$$+%%+%''$$%$$%%%%%%"
    "%,&%%%%$$%1'/%)%%%&$'%))%'.%'%((%'%()'+(%'%((%'%()%'($)+$&)%'/%%%)(%'%((%'%())&&(%%%%((%'%-$%'($)%)'%'%$&/%%"
    "(&)%%%%%%%'%')'$$$$$$%%'++%)%3%%+((%'%%%'%+)%%+)'%($%$&'(&$$%%%$$%'%%)'%&$%$$%%$&'%'%%$$%%%%%%%%$$($$$$%$%%$"
    "$%%%$$%%$$%$$%$$%%)%$$+$$%%''%$$%%%&$$$&%$%$$)&&%+'/'+)%%%%'%%$$%%%))%-1%%'%&*$$%'%$$%$$''+&$%%''%,**%*%%%%%"
    "%''%))'&-%'%((%%%%())&&(%'%((%%%%()%')*$')%%%%$$+((%))(%%&(%'%()'%))(%%&(%'%(+%%)+$$%'%%%)+)%'&&/)))%'%'%$&'"
    "%%-%&$%%%%%%)(%())))($)(%'+-%'%((%'%()%-(%'%-%'%+&%')-%'%)%%%)((%($(%'%-%'%()'%)(%'%((%'%()'+/'%%%%%%3'&''$%"
    "%%'%$$%%'%)%%%%$$%$(%%%%%'%%($$.)%%+)-%''',(-)/&,)%%%%$$($%%%%'%%%%($)&$%'%%$$%%''%%$$%%$%$$$$&%$$%'$$%'%$$%"
    "$(%%%&&($%%%%'%%%%&$$%$%'%%'&''$)%%+)&'(*(%'%'%%%))%%%))&$&$&$%'%%'''%$$$$%%%%$&)%'%$$'%%%33%%)%%''1-)%$$%'%"
    "'%%'%'%'%$$%)%+%)%&$'%)%$$%%$$$$%'$$%%%$$%%$$$$$$$$%%$$%'%)%$$%%''%')%'%%+%'%%$$%'%,(%%&$',$)%$$$$&&%%%%$$%$"
    "$$%$$$$$%$$$$%%)%%%$$%&%$'%$$$$%%$$$$$%$%%$$%%$$$$$$$%$$$$$$$$$$%$$$$$%%$&$$$%$$$$&%$$%%$$$%$$&%$%$%$$$$$$$&"
    "&$$$$$$$$$$$$$%%$&'%$$$$%&'&%$$$($$%%'%'*(%%%%$$$$%%$$*(%%%%')&$%'%%$$%))%$$%%$$$$$$$$%%$$%&&&&%$$$$)+&*'$'$"
    "%)%$&&$$$'%%%%*&%$$%%/+%%)+)'$$%%%%%&0+)%%%'%)$&%)&&&$%)$&'(&%)'%/'%.$'+$$&0)'+2$%$&%'%%%%%%%%$$%$$%%+$&%%$$"
    "$$%%%')%%%&$%1$$%%$%$$%&%$$%*%$%&$%$&%$$(()(($$%'%%%%$$$%$'%&%%''%$$%&%&2%))-%'%)))(+(%)')%%%%$&$$'%$$%%''&$"
    "(()%$&/'$0%'%'%%'$&**&%)'%'%-%'%(($%%%)(%'%((%'%()%%%))%'%%%$$$(%%)&(%%)(%'%((%'%.%')(%'%((%'%0'/%*&'%%'1'/)"
    "'%')%%$&%'%$$%$($$%%%%%%%%%+1'%))%'$$'&$%'&()*')%'%((%'%%&)%')&%%'%((%'%($(%%+)%%%%%%'%%--%)(%'%((%'%()%%0%'"
    "%((%'%()'$$))'%)%%+$()%%%))%%%%'%%%%%%%'($%$$%'%+%)%%'%%%))%')+%%%%%%+%)+%.&%%''%+'+%%$$$$%$$%+%)$$%')%'%%$$"
    "%$$%&&&$%%$$%%$$$$$$$$%%$$%&&%'$$$$%$$%%%%%%)'&%(%)%$&$%$%)%($'$&$$+%%)-%))''%%$&'$,)'%)+%%%%%%%$$%%'%%%%%%$"
    "$%'%$&%%)%%'%'+,,+%%%'%'/)%$$0%'%((%'%()%%%.%'%((%'%(&&%%%$2%&&%%%%-(%&%0'%$*''%()'%)(%'%((%'%4))%)&$%%%&$$$"
    ") %%%%%+%'%)%$$%)'%%$$%'%%3)'&%&+%&&%$$&%/''$%&%%'%'%-%'%.%%%.%'%((%'%(+'&&)+''%'%.(0%'%-%'%.%%0%'%((%'%"
};

/* Number k of vector i of a grid, in its steps. */
static int grid_digit(int grid, uint32_t i, int k)
{
    static uint16_t vectors[GRIDS][2048];
    static const int powers[2][8] = {{1, 3, 9, 27, 81, 243, 729, 2187}, {1, 8, 64, 512, 0, 0, 0, 0}};
    const int octal = grid == GRID_IQ3_XXS || grid == GRID_IQ3_S;

    if (vectors[grid][1] == 0) {   /* the first time; threads would all write the same */
        const char *c = grid_text[grid];
        uint32_t value = 0, n;
        for (n = 0; *c; c++) {
            value += *c == '~' ? 91u : (uint32_t)((*c == '!' ? 92 : *c == ' ' ? 63 : *c) - 35);
            if (*c != '~')
                vectors[grid][n++] = (uint16_t)value;
        }
    }
    return vectors[grid][i] / powers[octal][k] % (octal ? 8 : 3);
}

/* `count` numbers of a vector times a scale; their signs are bits. */
static void put_grid(int grid, uint32_t i, int count, float scale, uint32_t signs, float *out)
{
    static const float steps[3][8] = {{8, 25, 43, 0, 0, 0, 0, 0}, {4, 12, 20, 28, 36, 44, 52, 62}, {1, 3, 5, 7, 9, 11, 13, 15}};
    const float *step = steps[grid == GRID_IQ3_XXS ? 1 : grid == GRID_IQ3_S ? 2 : 0];
    int k;

    for (k = 0; k < count; k++) {
        const float value = scale * step[grid_digit(grid, i, k)];
        out[k] = signs >> k & 1u ? -value : value;
    }
}

/* Eight signs from seven bits: an even number of them is minus. */
static uint32_t even_signs(uint32_t bits)
{
    return bits | (0x6996u >> ((bits ^ bits >> 4) & 15u) & 1u) << 7;
}

/* Eight numbers at a time, in place i of 32. */
static void block_of_iq2_iq3(int type, const unsigned char *p, float *out)
{
    const float d = half_to_float(get16(p));
    int i;

    for (i = 0; i < 32; i++, out += 8) {
        const int g = i / 4, half = i / 2 % 2;   /* of 32 numbers; which 16 of them */
        if (type == TENSOR_IQ2_XXS) {
            const uint32_t bits = get32(p + 2 + 8 * g + 4);
            put_grid(GRID_IQ2_XXS, p[2 + 8 * g + i % 4], 8, d * (0.5f + (float)(bits >> 28)) * 0.25f,
                     even_signs(bits >> 7 * (i % 4) & 127u), out);
        } else if (type == TENSOR_IQ2_XS) {
            const uint32_t code = get16(p + 2 + 2 * i);
            put_grid(GRID_IQ2_XS, code & 511u, 8, d * (0.5f + (float)(p[66 + g] >> 4 * half & 15)) * 0.25f,
                     even_signs(code >> 9 & 127u), out);
        } else if (type == TENSOR_IQ2_S) {
            put_grid(GRID_IQ2_S, p[2 + i] | (uint32_t)(p[66 + g] >> 2 * (i % 4) & 3) << 8, 8,
                     d * (0.5f + (float)(p[74 + g] >> 4 * half & 15)) * 0.25f, p[34 + i], out);
        } else if (type == TENSOR_IQ3_XXS) {
            const uint32_t bits = get32(p + 66 + 4 * g), signs = even_signs(bits >> 7 * (i % 4) & 127u);
            const float scale = d * (0.5f + (float)(bits >> 28)) * 0.5f;
            put_grid(GRID_IQ3_XXS, p[2 + 2 * i], 4, scale, signs, out);
            put_grid(GRID_IQ3_XXS, p[3 + 2 * i], 4, scale, signs >> 4, out + 4);
        } else {
            const uint32_t high = (uint32_t)p[66 + g] >> 2 * (i % 4);
            const float scale = d * (float)(1 + 2 * (p[106 + g / 2] >> 4 * (g % 2) & 15));
            put_grid(GRID_IQ3_S, p[2 + 2 * i] | (high & 1u) << 8, 4, scale, p[74 + i], out);
            put_grid(GRID_IQ3_S, p[3 + 2 * i] | (high >> 1 & 1u) << 8, 4, scale, (uint32_t)p[74 + i] >> 4, out + 4);
        }
    }
}

/* The same of -1, 0, 1, moved by an eighth. */
static void block_of_iq1(int type, const unsigned char *p, float *out)
{
    const int large = type == TENSOR_IQ1_M;
    const uint32_t parts = large ? get16(p + 48) >> 12 | (get16(p + 50) >> 8 & 0xf0u) | (get16(p + 52) >> 4 & 0xf00u)
                                       | (get16(p + 54) & 0xf000u) : get16(p);
    const float d = half_to_float(parts);
    int i, k;

    for (i = 0; i < 32; i++, out += 8) {
        const int g = i / 4;
        const uint32_t high = large ? (uint32_t)p[32 + i / 2] >> 4 * (i % 2) : get16(p + 34 + 2 * g);
        const uint32_t top = large ? high & 7u : high >> 3 * (i % 4) & 7u;
        const uint32_t scale = large ? get16(p + 48 + 2 * (g / 2)) >> (6 * (g % 2) + 3 * (i / 2 % 2)) & 7u : high >> 12 & 7u;
        const float delta = high & (large ? 8u : 0x8000u) ? -0.125f : 0.125f;
        const float each = d * (float)(2 * scale + 1);
        for (k = 0; k < 8; k++)
            out[k] = each * ((float)(grid_digit(GRID_IQ1, p[large ? i : 2 + i] | top << 8, k) - 1) + delta);
    }
}

static float double_to_float(const unsigned char *p)
{
    const uint64_t bits = get64(p);
    double value;

    memcpy(&value, &bits, sizeof value);
    return (bits >> 52 & 0x7ffu) == 0x7ffu || value > 3.4028235e38 || value < -3.4028235e38
               ? float_of_bits(0x7f800000u) : (float)value;
}

/* `count` numbers, whole blocks, to float32. */
static void tensor_numbers(int type, const unsigned char *p, size_t count, float *out)
{
    const tensor_kind *kind = &tensor_kinds[type];
    size_t i;
    int k;

    for (i = 0; i < count; i += kind->numbers, p += kind->size)
        switch (type) {
        case TENSOR_F32:     out[i] = float_of_bits(get32(p)); break;
        case TENSOR_F16:     out[i] = half_to_float(get16(p)); break;
        case TENSOR_BF16:    out[i] = float_of_bits(get16(p) << 16); break;
        case TENSOR_F64:     out[i] = double_to_float(p); break;
        case TENSOR_I8:      out[i] = (float)signed_byte(p[0]); break;
        case TENSOR_F8_E4M3: out[i] = e4m3_to_float(p[0]); break;
        case TENSOR_F8_E5M2: out[i] = half_to_float((uint32_t)p[0] << 8); break;
        case TENSOR_Q8_0:
            for (k = 0; k < 32; k++)
                out[i + (size_t)k] = half_to_float(get16(p)) * (float)signed_byte(p[2 + k]);
            break;
        case TENSOR_MXFP4:
        case TENSOR_NVFP4:   blocks_of_fp4(type, p, out + i); break;
        case TENSOR_Q1_0:
        case TENSOR_Q2_0:
        case TENSOR_TQ1_0:
        case TENSOR_TQ2_0:   block_of_signs(type, p, out + i); break;
        case TENSOR_Q2_K:    block_of_q2(p, out + i); break;
        case TENSOR_Q3_K:    block_of_q3(p, out + i); break;
        case TENSOR_Q4_K:
        case TENSOR_Q5_K:    block_of_q4_q5(type, p, out + i); break;
        case TENSOR_Q6_K:    block_of_q6(p, out + i); break;
        case TENSOR_IQ4_XS:  block_of_iq4(p, out + i); break;
        case TENSOR_IQ3_S:
        case TENSOR_IQ3_XXS:
        case TENSOR_IQ2_S:
        case TENSOR_IQ2_XS:
        case TENSOR_IQ2_XXS: block_of_iq2_iq3(type, p, out + i); break;
        case TENSOR_IQ1_M:
        case TENSOR_IQ1_S:   block_of_iq1(type, p, out + i); break;
        default:             block_of_32(type, p, out + i); break;
        }
}

/* The way back, to F32, F16, BF16, F64 or Q8_0, rounded to nearest; whole blocks of finite numbers. */
SHARED void numbers_encode(int type, const float *x, size_t count, unsigned char *p)
{
    const tensor_kind *kind = &tensor_kinds[type];
    size_t i, k;

    for (i = 0; i < count; i += kind->numbers, p += kind->size) {
        uint64_t bits = type == TENSOR_F16 ? float_to_half(x[i]) : type == TENSOR_BF16 ? float_to_bf16(x[i])
                                                                                      : bits_of_float(x[i]);
        if (type == TENSOR_F64) {
            const double wide = (double)x[i];
            memcpy(&bits, &wide, sizeof bits);
        } else if (type == TENSOR_Q8_0) {
            float most = 0.0f, scale, back;
            for (k = 0; k < 32; k++)
                most = x[i + k] > most ? x[i + k] : -x[i + k] > most ? -x[i + k] : most;
            scale = most / 127.0f;
            back = scale > 0.0f ? 1.0f / scale : 0.0f;
            bits = float_to_half(scale);
            for (k = 0; k < 32; k++) {
                const double code = (double)(x[i + k] * back);
                p[2 + k] = (unsigned char)(int)(code < 0.0 ? code - 0.5 : code + 0.5);
            }
        }
        for (k = 0; k < (kind->numbers == 1 ? kind->size : 2); k++)
            p[k] = (unsigned char)(bits >> 8 * k & 255u);
    }
}

#endif /* NUMBER_TYPES_H */
